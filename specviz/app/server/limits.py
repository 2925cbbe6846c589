"""What one visitor may ask for: the page's limits, where they come from, and what is said to a visitor who passes one.

They are checked by what does the work, not by the form alone, so a call made by hand meets them, too.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from specviz.app.server.framing import read_frames
from specviz.app.server.pools import Pool
from specviz.engine.work import StepWork, option_to_lower, step_work
from specviz.errors import SettingsError, shown
from specviz.models.choices import DEVICES, DTYPES, QUANTIZATIONS
from specviz.models.pair_spec import ModelChoice
from specviz.models.presets import PRESETS, find_preset
from specviz.models.sources import unplaced
from specviz.trace.schema import Choice, Settings
from specviz.tree import MAX_NODES

PUBLIC = "SPECVIZ_PUBLIC"
PREFIX = "SPECVIZ_MAX_"
PRESETS_OFFERED = "SPECVIZ_PRESETS"
PROXIES = "SPECVIZ_PROXIES"
LOADING = {
    "device": DEVICES,
    "dtype": DTYPES,
    "target_quantization": QUANTIZATIONS,
    "draft_quantization": QUANTIZATIONS,
}
"""How a pair is loaded: the fields of a ModelChoice that the operator sets, by ``SPECVIZ_DEVICE`` and so on."""
_OWN = "or run specviz on a machine of your own"
_SHORTER = "lower New tokens at most, or shorten the prompt"

# The same on every page: no option sets them.
LINK_SECONDS = 7 * 24 * 3600.0
"""How long the server holds a run for its link, since it was last opened."""
LINK_BYTES = 500_000_000
"""Bytes of the runs that are held for links, all together."""
SAVED_BYTES = 1_000_000_000
"""Bytes of the files that open pages have saved, all together."""
LEAST_BYTES = 16 * 1024
"""So many bytes count for a smaller file, too: a disk gives whole blocks, and only so many names."""
LISTEN_SECONDS = 30.0
"""How long an event waits for somebody to listen for its answer; it does not begin before."""
EVENTS_WAITING = 256
"""Clicks that need no models and wait or work at once, all pages together: opening, saving, comparing."""
ANSWERS_WAITING = 256_000_000
"""Characters of answers that wait in the server until they are read, all pages together."""
SESSIONS_TOLD = 2_000
"""Sessions that have answers waiting for them; the oldest one that nobody listens for goes first."""
LOST_TOLD = 10_000
"""Pages that are told, at their next click, that their runs had to make room."""
RUNS_KEPT = 24
"""Runs that an open page keeps; the oldest one that is not shown goes first."""
KEPT_BYTES = 256 * 1024 * 1024
"""Of the runs that all pages keep, packed; where there are more, pages make room as for ``visitors``."""
LARGE_TRACE_BYTES = 2 * 1024 * 1024
"""A trace file of more than so many bytes, unpacked, is read in a process of its own, with limited memory and time."""
SMALL_FILES, LARGE_FILES = 4, 2
"""Files that are opened at once, the small and the large ones; a client opens one of each at a time."""
WAITING_FILES = 16
"""Files of either kind that wait to be opened; a client's further ones wait in the queue until it has fewer than its
share of these, and where others have them all the next is told to come again."""
READ_SECONDS = 120.0
"""How long such a file is waited for, and then read, at most."""
SMALL_COMPARISON = {"prompts": 16, "trees": 6, "verifiers": 8, "temperatures": 3, "processors": 4, "tokens": 64}
"""How much of each a small comparison has at most."""
ANSWER_BYTES = 8_000_000
"""Of one answer: of a frame alone, a comparison, a what-if."""
FRAMES_BYTES = 2_000_000
"""Of the frames of one answer, unless a single one has more; the viewer asks for the rest."""
LARGE_RUN_BYTES = 1_000_000
"""Of a run's JSON: answers with frames of a larger one are made one at a time."""
LARGE_ANSWERS = 64
"""How many answers about large runs may be waited for; the viewer asks again."""
SAVED_PAGE_BYTES = 128 * 1024 * 1024
"""Of a run that is saved as an HTML page."""


# Of every request: checked before anything parses it.
ADDRESS_BYTES = 8 * 1024
"""Of an address with what follows its question mark; proxies take as many."""
HEADERS, HEADERS_BYTES = 100, 16 * 1024
"""Headers of a request, and their bytes together; a browser sends about twenty, in 2 kB."""
FORM_BYTES = 64 * 1024
"""Of a request beside its prompt: the whole form takes less than 1 kB, a list of all verifiers a few."""
CHARACTER_BYTES = 12
"""Of one character in JSON: a program may write an emoji as two escapes of six."""
JSON_VALUES = 4_096
"""Brackets, commas and colons of a request outside its texts; Step sends about sixty."""
JSON_DEPTH = 32
"""Lists and objects within each other; Step sends three of them."""
SESSION_CHARACTERS = 64
"""Of the name that a page gives to its session; a browser's has a dozen, a program's 36."""
BODY_SECONDS, BODY_BYTES_A_SECOND = 20.0, 8 * 1024
"""A request ends when nothing of it has come for so long, or when it comes more slowly after that time."""

# Of files that are sent.
UPLOADS_AT_ONCE = 64
"""Uploads that come in at the same time."""
REQUEST_BYTES = 512 * 1024 * 1024
"""Of all the files of one request; each of them has ``upload_mb`` besides."""
UNREAD_BYTES = 2 * 1024 * 1024 * 1024
"""Of files that were sent and not opened yet, half ones too."""
FILE_BYTES = 256 * 1024
"""Counted for each of these files beside its bytes, for its folder, its blocks and its place in the tables."""
UNREAD_SECONDS = 15 * 60.0
"""How long a file that nobody opens stays; the page opens one as soon as it is there."""


def _limit(private: int, public: int, meaning: str, most: int = 2**31) -> Any:
    return field(default=private, metadata={"public": public, "meaning": meaning, "most": most})


@dataclass(frozen=True)
class Limits:
    """The limits of a page; the defaults are those of a private machine.

    Attributes:
        public: whether strangers use it: they choose among ``presets`` and can open no comparison of their own.
        proxies: addresses and networks of the proxies that are believed when they say for whom they ask.
        frames: origins whose pages may show this one in a frame; see :mod:`~specviz.app.server.framing`.
        addresses_count: whether a request's address tells who sent it. It does not behind a proxy that is not among
            ``proxies``, as on a Space: there only sessions are told apart.
        loading: its fields of :data:`LOADING` say how pairs are loaded. The form begins with them, and on a public page
            nobody can choose others: that would load a pair anew, in the place of the one that all use.
    """

    public: bool = False
    presets: tuple[str, ...] = tuple(PRESETS)
    proxies: tuple[str, ...] = ()
    addresses_count: bool = True
    frames: tuple[str, ...] = ()
    loading: ModelChoice = field(default_factory=ModelChoice)
    prompt_characters: int = _limit(100_000, 8_000, "characters of a prompt")
    prompt_tokens: int = _limit(32_768, 1_024, "tokens of a prompt")
    context_tokens: int = _limit(131_072, 2_048, "tokens of a run: prompt and new ones")
    nodes: int = _limit(MAX_NODES, 128, "drafted tokens of one tree", most=MAX_NODES)
    rows: int = _limit(16_384, 1_024, "tokens that one step feeds both models, those of pruned nodes among them")
    verdicts: int = _limit(65_536, 2_048, "nodes of one tree, once for each verifier that judges it")
    step_mb: int = _limit(65_536, 640, "MB of one step at the end of its run, beside the models: caches, rows, masks")
    steps: int = _limit(1_000, 200, "steps that one click runs")
    seconds: int = _limit(3_600, 120, "seconds that one click works, without the loading of models")
    comparison_tokens: int = _limit(6_000, 1_500, "tokens of a small comparison, all runs together")
    comparison_rows: int = _limit(2_000_000, 200_000, "tokens that it feeds the models at most, all steps together")
    comparison_seconds: int = _limit(1_800, 300, "seconds of a small comparison")
    upload_mb: int = _limit(64, 16, "MB of a file that is sent; of a trace, unpacked", most=1_024)
    upload_files: int = _limit(64, 1, "files that one request sends; a comparison is several")
    visitors: int = _limit(500, 500, "visitors whose open runs are kept; who has no page open goes first")
    live_runs: int = _limit(8, 64, "runs that keep their caches between two clicks; others are prefilled again")
    live_mb: int = _limit(2_048, 384, "MB of these runs and their caches; the one used last stays in any case")
    pairs: int = _limit(1, 1, "pairs of models that stay loaded")
    connections: int = _limit(1_000, 1_000, "connections that are open at once; an open page has about three", 100_000)
    queue: int = _limit(
        16, 64, "clicks that wait for the models or use them (small comparisons likewise); the next is told to wait"
    )

    @property
    def upload_bytes(self) -> int:
        return self.upload_mb * 1024 * 1024

    def is_proxy(self, host: str) -> bool:
        """Whether an address is one of :attr:`proxies`."""
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(host)
            return any(address in ipaddress.ip_network(proxy) for proxy in self.proxies)
        return False

    @property
    def request_bytes(self) -> int:
        """The most that a request has which sends no file."""
        return self.prompt_characters * CHARACTER_BYTES + FORM_BYTES

    @property
    def request_upload_bytes(self) -> int:
        """The most that a request has which sends files: their bytes, and the form's around them."""
        return min(self.upload_files * self.upload_bytes, REQUEST_BYTES) + FORM_BYTES

    def pool(self, what: str, total: int) -> Pool:
        """A pool of so much for everybody. On a public page a session has an eighth of it at most, and an address half,
        because a class may sit behind one address; on a private page there is nobody to keep it from."""
        if not self.public:
            return Pool(what, total)
        return Pool(what, total, of_session=max(1, total // 8), of_address=max(1, total // 2))

    # ------------------------------------------------------------------------- each raises SettingsError, or returns

    def check_models(self, models: ModelChoice) -> None:
        """A public page loads its presets and nothing else: no folder, no id of the hub. No page guesses what a run
        does not say of its models."""
        offered = {find_preset(name).names for name in self.presets}
        if self.public and _named(models) not in offered:
            raise SettingsError(
                f"This public page runs its presets only ({_some(self.presets)}); choose one under Settings, {_OWN}."
            )
        if self.public and any(getattr(models, name) != getattr(self.loading, name) for name in LOADING):
            ways = ", ".join(f"{name.replace('_', ' ')} {getattr(self.loading, name)}" for name in LOADING)
            raise SettingsError(f"This public page loads its models in one way ({ways}); leave that as it is, {_OWN}.")
        if said := unplaced(models.target, "target") or unplaced(models.draft, "draft"):
            raise SettingsError(said)
        if self.public and models.allow_renamed_tokens:
            raise SettingsError(f"This public page allows no renamed tokens; leave that off, {_OWN}.")
        if self.public and (models.head_reads or models.head_options):
            raise SettingsError(f"This public page runs heads as their files say; leave their options empty, {_OWN}.")

    def as_set(self, models: ModelChoice) -> ModelChoice:
        """The same models, on a public page loaded as the operator has set it, however a run was recorded; and under
        one name each, because the default pair has two. What is loaded as the same is equal then."""
        if not self.public:
            return models
        own = PRESETS["default"].names
        target, draft = ("default" if name == known else name for name, known in zip(_named(models), own, strict=True))
        return replace(models, target=target, draft=draft, **{name: getattr(self.loading, name) for name in LOADING})

    def check_prompt(self, prompt: str) -> None:
        if len(prompt) > self.prompt_characters:
            raise SettingsError(
                f"The prompt has {len(prompt):,} characters and this page takes {self.prompt_characters:,}; "
                f"shorten it, {_OWN}."
            )

    def check_tree(self, choice: Choice, verifiers: int = 1) -> StepWork:
        """Check what growing and judging a tree of a registered builder can take, before anything runs.

        Args:
            verifiers: how many judge it.

        Raises:
            SettingsError: also for a builder that there is not.
        """
        work = step_work(choice, verifiers)
        self.check_nodes(work.nodes)
        if work.fed > self.rows:
            raise SettingsError(
                f"A step with this tree can feed the models {work.fed:,} tokens, because {work.tree.nodes:,} nodes are "
                f"grown of which {work.nodes:,} stay, and this page feeds {self.rows:,}; "
                f"{_lower(choice, lambda work: work.fed)}, {_OWN}."
            )
        self.check_judged(work)
        return work

    def check_judged(self, work: StepWork) -> None:
        if work.judged > self.verdicts:
            raise SettingsError(
                f"{work.verifiers:,} verifiers of a tree of {work.nodes:,} nodes are {work.judged:,} verdicts a step "
                f"and this page gives {self.verdicts:,}; choose fewer verifiers or a smaller tree, {_OWN}."
            )

    def check_run(self, pair: Any, settings: Settings, prompt_tokens: int) -> None:
        """Check the context of a run, and the memory that its last step takes, its largest.

        Args:
            pair: loaded.
        """
        self.check_context(prompt_tokens, settings.max_new_tokens)
        work = self.check_tree(settings.builder, len(settings.verifiers))
        smaller = _lower(settings.builder, lambda work: work.tree.rows + work.nodes)
        self.check_step(pair, prompt_tokens + settings.max_new_tokens, work, smaller, audit=settings.audit)

    def check_step(
        self, pair: Any, context: int, work: StepWork, smaller: str, shorter: str = _SHORTER, audit: bool = False
    ) -> None:
        """Check the memory of a step after so many tokens.

        Args:
            smaller, shorter: what to do where it is the tree, or the context, that takes most.
        """
        from specviz.models.memory import as_loaded, step_memory  # imports transformers: not needed to look at a trace

        rows = {"nodes": work.nodes, "draft_rows": work.tree.rows}
        needed = step_memory(as_loaded(pair.target), as_loaded(pair.draft), context=context, audit=audit, **rows)
        if needed.total > self.step_mb * 2**20:
            raise SettingsError(
                f"A step after {context:,} tokens can take {needed.total >> 20:,} MB beside the models (caches "
                f"{needed.caches >> 20:,}, rows {needed.rows >> 20:,}) and this page gives it {self.step_mb:,}; "
                f"{smaller if needed.rows >= needed.caches else shorter}, {_OWN}."
            )

    def check_nodes(self, nodes: int) -> None:
        if nodes > self.nodes:
            raise SettingsError(
                f"The tree can have {nodes:,} nodes and this page drafts {self.nodes:,}; choose a smaller one, {_OWN}."
            )

    def check_context(self, prompt_tokens: int, new_tokens: int) -> None:
        """Check two counts of tokens: of the prompt, and of those that may follow it at most."""
        if prompt_tokens > self.prompt_tokens:
            raise SettingsError(
                f"The prompt has {prompt_tokens:,} tokens and this page takes {self.prompt_tokens:,}; "
                f"shorten it, {_OWN}."
            )
        if prompt_tokens + new_tokens > self.context_tokens:
            raise SettingsError(
                f"The prompt has {prompt_tokens:,} tokens and {shown(new_tokens)} may follow, and this page takes "
                f"{self.context_tokens:,} together; lower New tokens at most, {_OWN}."
            )

    def steps_of(self, count: Any) -> int:
        """How many steps a click runs, from whatever was sent for it."""
        number = count if isinstance(count, int) and not isinstance(count, bool) else None
        if isinstance(count, float) and count.is_integer():
            number = int(count)
        if number is None or not 1 <= number <= self.steps:
            raise SettingsError(
                f"A click runs 1 to {self.steps:,} steps, and not {shown(count)}; give such a number under Settings "
                "and press Run again to go on."
            )
        return number

    def step_ended(self, number: int) -> str:
        """What to say of a step that was stopped, or took the rest of a click's seconds, while its tree was judged."""
        return (
            f"Step {number} was ended while its tree was judged; the steps before it are kept. If it takes longer than "
            f"the {self.seconds:,} seconds of a click, choose fewer verifiers or a smaller tree, or leave Optimum of "
            "nodes off; else press Step to run it again."
        )

    def out_of_time(self) -> str:
        """What to say once a click has worked for all its seconds."""
        return f"This click has worked for its {self.seconds:,} seconds; press Step or Run to go on."


def read_limits(
    environment: Mapping[str, str],
    options: Iterable[str] = (),
    public: bool | None = None,
    proxies: str | None = None,
    loading: Mapping[str, str | None] | None = None,
    frames: str | None = None,
) -> Limits:
    """The limits that the environment's variables and the command line's options set.

    An option counts more than a variable, a variable more than the default of a private or a public page. A page is
    public if it is said to be, or if it runs on a Hugging Face Space and nothing is said.

    Args:
        options: ``name=number`` each.
        public: what the command line says; None for nothing.
        proxies: likewise: addresses and networks with commas between them.
        loading: likewise, of :data:`LOADING` by name.
        frames: likewise: origins with commas between them.

    Raises:
        SettingsError: naming the first value that is wrong, or that is no limit.
    """
    if public is None:
        public = _yes_or_no(environment[PUBLIC]) if environment.get(PUBLIC) else bool(environment.get("SPACE_ID"))
    known = {one.name: one for one in fields(Limits) if one.metadata}
    given: dict[str, tuple[str, str]] = {}
    for variable, text in environment.items():
        if variable.startswith(PREFIX):
            given[variable[len(PREFIX) :].lower()] = (variable, text)
    for option in options:
        name, _, text = option.partition("=")
        given[name.strip()] = (f"--limit {name.strip()}", text)
    values: dict[str, Any] = {name: one.metadata["public"] if public else one.default for name, one in known.items()}
    for name, (where, text) in given.items():
        if name not in known:
            raise SettingsError(f"{where[:80]} sets no limit that there is; the limits are {', '.join(known)}.")
        values[name] = _whole(where, text, known[name].metadata["most"])
    names = tuple(name.strip() for name in environment.get(PRESETS_OFFERED, "").split(",") if name.strip())
    for name in names:
        find_preset(name)
    if public and not names:
        names = tuple(PRESETS)[: values["pairs"]]
    elif public and "pairs" not in given:
        values["pairs"] = len(names)
    elif public and len(names) > values["pairs"]:
        raise SettingsError(
            f"{PRESETS_OFFERED} names {len(names)} pairs and this page keeps {values['pairs']} loaded, so visitors "
            f"would push out each other's; name fewer, or set --limit pairs={len(names)} if they fit into memory."
        )
    believed = _proxies(environment.get(PROXIES, "") if proxies is None else proxies)
    return Limits(
        public=public,
        presets=names or tuple(PRESETS),
        proxies=believed,
        frames=read_frames(environment, frames),
        addresses_count=bool(believed) or not environment.get("SPACE_ID"),
        loading=_loading(environment, loading or {}),
        **values,
    )


def _lower(choice: Choice, size: Callable[[StepWork], int]) -> str:
    option = option_to_lower(choice, size)
    return f"lower {option} of the tree" if option else "choose a smaller tree"


def _named(models: ModelChoice) -> tuple[str, str]:
    """(target, draft) as the presets write them."""
    target, draft = (name.strip() for name in (models.target, models.draft))
    names = PRESETS["default"].names
    return names[0] if target == "default" else target, names[1] if draft == "default" else draft


def _some(names: Sequence[str], most: int = 8) -> str:
    """Names with commas; of many the first ones."""
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"


def _proxies(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError:
            raise SettingsError(
                f"{shown(name)} is no address of a proxy; give addresses or networks such as 10.0.0.0/8, with commas "
                "between them."
            ) from None
    return names


def _loading(environment: Mapping[str, str], options: Mapping[str, str | None]) -> ModelChoice:
    values: dict[str, Any] = {}
    for name, known in LOADING.items():
        variable = f"SPECVIZ_{name.upper()}"
        text = options.get(name) or environment.get(variable, "").strip() or getattr(ModelChoice(), name)
        if text not in known:
            raise SettingsError(f"{variable} cannot be {shown(text)}; choose from {', '.join(known)}.")
        values[name] = text
    return ModelChoice(**values)


def _whole(where: str, text: str, most: int) -> int:
    text = text.strip().replace("_", "")
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise SettingsError(f"{where} cannot be {shown(text)}; give a whole number from 1 to {most}.")
    return int(text)


def _yes_or_no(text: str) -> bool:
    said = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.strip().lower() not in said:
        raise SettingsError(f"{PUBLIC} cannot be {shown(text)}; write 1 or 0.")
    return said[text.strip().lower()]
