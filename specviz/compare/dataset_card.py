"""The data card of a comparison: a README.md in the form of Hugging Face data sets, ready to be uploaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from specviz import __version__
from specviz.compare.jobs import Job
from specviz.compare.named import Named, NamedProcessors
from specviz.compare.prompts import load_prompts
from specviz.compare.rows import DRAFT, KEY, NO_DRAFT, PROCESSORS, SAMPLING, TABLES
from specviz.compare.run_unit import named
from specviz.compare.spec import Comparison
from specviz.display import upright
from specviz.trace.schema import ModelInfo, Models
from specviz.trace.stop_strings import written_stops

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def data_card(job: Job, models: Sequence[Models], counts: Mapping[str, int], files: Mapping[str, str]) -> str:
    """The card.

    Args:
        models: a pair for each draft, in their order.
        counts: rows by table.
        files: name or glob of its files by table.
    """
    return upright("\n".join([*_head(job, counts, files), *_body(job, models, counts, files)]) + "\n")


def _head(job: Job, counts: Mapping[str, int], files: Mapping[str, str]) -> list[str]:
    largest = max(counts.values())
    size = next((name for limit, name in _SIZES if largest < limit), "1M<n<10M")
    # Outputs are their models'; only of the built-in pair and the project's own prompts do we know the licences.
    names = {job.pair.target, job.pair.draft, *(one.draft for one in job.comparison.drafts)}
    ours = names == {"default"} and set(job.prompts) <= set(load_prompts())
    lines = [
        "---",
        "pretty_name: Verifiers of speculative decoding, decision by decision",
        f"license: {'apache-2.0' if ours else 'unknown'}",
        "task_categories:",
        "- text-generation",
        "tags:",
        "- speculative-decoding",
        "- verification",
        "size_categories:",
        f"- {size}",
        "configs:",
    ]
    for i, name in enumerate(TABLES):
        lines += [f"- config_name: {name}", *(["  default: true"] if i == 0 else []), f"  data_files: {files[name]}"]
    # The prompts are no configuration: the package datasets reads all of them in one format.
    return [*lines, "---", ""]


def _body(job: Job, models: Sequence[Models], counts: Mapping[str, int], files: Mapping[str, str]) -> list[str]:
    it = job.comparison
    kinds = sorted({prompt.kind for prompt in job.prompts})
    lines = [
        "# Verifiers of speculative decoding, decision by decision",
        "",
        "A draft model proposes a tree of tokens, a target model scores it in one forward, and a *verifier* decides "
        "how far the tree is kept. In `paired` runs all verifiers judge the same trees with the same luck and one of "
        "them, the driver, commits; in `free` runs each goes its own way. Recorded by "
        f"specviz {__version__} (`python -m specviz compare`); `comparison.json` holds every setting.",
        "",
        f"| models | target | {' | '.join(f'draft `{one.label}`' for one in it.drafts) or 'draft'} |",
        f"|---|---|{'---|' * len(models)}",
    ]
    them = [models[0].both()[0], *(pair.both()[1] for pair in models)]
    for title, cells in (
        ("id", [named(model) for model in them]),
        ("parameters", [f"{model.parameters:,}" for model in them]),
        ("vocabulary", [f"{model.vocabulary:,}" for model in them]),
        ("number format", [model.quantization or str(model.dtype) for model in them]),
        ("note", [model.note or "" for model in them]),
        *([("draft head", [_head_of(model) for model in them])] if any(model.head for model in them) else []),
    ):
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        "| part | options |",
        "|---|---|",
        *_named("tree", it.trees),
        *_named("verifier", it.verifiers),
        *_processors(it),
        "",
        f"Temperatures {', '.join(f'{t:g}' for t in it.temperatures)}; at most {it.max_new_tokens} new tokens"
        f"{_ends(it)}; driver `{it.driver}`; seed {it.seed}. "
        f"{len(job.prompts)} prompts of {len(kinds)} kinds: {', '.join(kinds)}. "
        "The luck of a run is a hash of the seed and the prompt's id, the same for all "
        f"{'drafts, ' if it.drafts else ''}{'sets of processors, ' if it.processor_sets else ''}trees, temperatures "
        "and verifiers."
        + (
            f" In free runs `{SAMPLING}` on the tree `{NO_DRAFT}` is the target alone, a token a step."
            if it.sampling and it.free != 0
            else ""
        ),
        "",
        "Outputs are a language model's: they are often wrong, and may be offensive. Do not train on them as if they "
        "were true.",
    ]
    for name, columns in TABLES.items():
        lines += [
            "",
            f"## {files[name]}",
            "",
            f"{counts[name]:,} rows.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        lines += [f"| `{column}` | {word} | {meaning} |" for column, (word, meaning) in columns.items()]
    joined = ", ".join(
        f"`{column}`" for column in (*KEY, *(DRAFT if it.drafts else ()), *(PROCESSORS if it.processor_sets else ()))
    )
    return [*lines, "", f"Tables join on {joined}; in `free` runs on `verifier` too, and `step` where both have it."]


def _head_of(model: ModelInfo) -> str:
    """Which kind of draft head it is, and which of the target's hidden states it reads."""
    return f"{model.head.format}, reads {', '.join(map(str, model.head.reads))}" if model.head else ""


def _ends(comparison: Comparison) -> str:
    """What ends an output beside its length and an end token."""
    said = f", at least {comparison.min_new_tokens}" if comparison.min_new_tokens else ""
    strings = ", ".join(f"`{string}`" for string in written_stops(comparison.stop).replace("`", "'").splitlines())
    return said + (f", ended by {strings}" if strings else "")


def _processors(comparison: Comparison) -> Iterable[str]:
    """What processes logits: of every set, or of all runs; no row where nothing does."""
    sets = comparison.processor_sets
    for_all = NamedProcessors(
        label="of all runs",
        processors=comparison.processors,
        mode=comparison.processor_mode,
        draft=comparison.processor_draft,
    )
    for one in sets or ((for_all,) if comparison.processors else ()):
        # A bar would end the cell.
        label, written = (text.replace("|", "/") for text in (one.label, one.written()))
        yield f"| processors `{label}` | `{written}` |"


def _named(what: str, choices: Sequence[Named]) -> Iterable[str]:
    for one in choices:
        options = ", ".join(f"{name}={value}" for name, value in one.choice.options.items()) or "defaults"
        yield f"| {what} `{one.label}` | {one.choice.name}: {options} |"
