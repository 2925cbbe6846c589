"""Record a whole run: what the command ``record`` and :func:`specviz.record` do, with the defaults of both.

Nothing heavy is imported before a run is asked for: the command line reads the signature for ``--help``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from specviz.errors import RecordingInterrupted, SettingsError, SpecvizError
from specviz.models.download_cache import ProgressCallback, silent
from specviz.models.head_options import heads_texts
from specviz.models.pair_spec import ModelChoice, pair_names
from specviz.trace.breakpoints import parse_short
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Choice, Option, ProcessorMode, PromptEnd, Proposal, Step, Trace
from specviz.trace.settings import (
    build_sampling,
    build_settings,
    draft_sampling,
    tree_choice,
    verifier_choices,
)

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.verifiers import Verifier


def record(
    prompt: str,
    *,
    preset: str | None = None,
    target: str | None = None,
    draft: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    target_quantization: str = "none",
    draft_quantization: str = "none",
    builder: str | None = None,
    tree: str | Sequence[int] | Sequence[Sequence[int]] | None = None,
    proposal: Proposal | None = None,
    builder_options: Mapping[str, Option] | None = None,
    verifiers: str | Sequence[str | Verifier] = "rejection,eta,longest_path",
    verifier_options: Mapping[str, Mapping[str, Option]] | None = None,
    driver: str | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    eta_cutoff: float = 0.0,
    draft_temperature: float | None = None,
    draft_top_k: int = 0,
    draft_top_p: float = 1.0,
    processors: str | Sequence[str | Choice] = "",
    processor_mode: ProcessorMode = "exact",
    processor_draft: bool = False,
    seed: int = 0,
    max_new_tokens: int = 40,
    min_new_tokens: int = 0,
    stop: str | Sequence[str] = (),
    chat: bool = False,
    prompt_end_token: PromptEnd = "refuse",
    allow_renamed_tokens: bool = False,
    head_reads: str | Sequence[int] = "",
    head_options: str | Sequence[str] | Mapping[str, Option] = "",
    audit: bool = False,
    record_optimum: bool = False,
    until: str | Sequence[str] = (),
    progress: ProgressCallback = silent,
    on_step: Callable[[Step], object] | None = None,
) -> Trace:
    """Run a speculative decode and return everything that happened in it.

    The same arguments on the same machine give the same tokens. Each call loads the models anew.

    Args:
        prompt: the text to continue, or the user's message with ``chat``.
        preset: a pair that works together, by name; ``python -m specviz models`` lists them.
        target: ``default``, a model folder, or a hub id (``id@revision``); instead of the preset's.
        draft: likewise.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        target_quantization, draft_quantization: ``none``, ``int8`` or ``nf4``, on CUDA and CPU.
        builder: ``k_config``, ``explicit``, ``dynamic``, ``sequoia`` or ``prompt_lookup``; None: what ``tree`` says, or
            else ``k_config``.
        tree: ``"4,2,2"`` or ``(4, 2, 2)``, children a level; ``"[0],[1],[0,0]"`` or ``[[0], [1], [0, 0]]``, the path of
            every node by sibling ranks, for ``explicit``; None: the builder's own.
        proposal: how siblings are proposed: ``without_replacement``, ``with_replacement`` or ``top_k``; None: the
            builder's own.
        builder_options: further options of the builder by name.
        verifiers: those that judge every tree: names, also in one text with commas, or :class:`Verifier` objects.
        verifier_options: options of verifiers, by the verifier's name and the option's.
        driver: name of the verifier whose verdict is committed; None: the first.
        temperature: of the target, from 0 (greedy) to 100.
        top_k: of the target, tokens that are kept; 0 keeps all.
        top_p: of the target, probability mass that is kept, in (0, 1].
        eta_cutoff: of the target, eta sampling, in [0, 1); 0 is off. Not the eta verifier.
        draft_temperature: None: the target's, or 1 where that is 0.
        draft_top_k, draft_top_p: of the draft.
        processors: what changes the target's logits by the text, ``"repetition_penalty:penalty=1.2; min_p:min_p=0.1"``
            or one text each; ``my.module:MyClass:option=value`` for a LogitsProcessor of your own. docs/processors.md
            lists them.
        processor_mode: ``exact``: each node by the text on its path; ``frozen``: all by the committed text.
        processor_draft: process the draft's logits, too.
        seed: of all coins and draws, a whole number from 0 on.
        max_new_tokens: tokens after which the run ends, from 1 on.
        min_new_tokens: tokens that an end token or a stop string has to follow to end the run.
        stop: texts that end the run: the token that completes one is the last.
        chat: wrap the prompt in the target's chat template.
        prompt_end_token: what is done with an end token that the prompt ends in: ``refuse``, ``drop`` or ``keep``.
        allow_renamed_tokens: take a draft whose tokenizer names added tokens otherwise; see docs/models.md.
        head_reads: of a draft head, in place of what its files say: which of the target's hidden states it reads,
            ``"2,14,25"`` or numbers.
        head_options: likewise options of its format, ``"norm_output=false"`` or by name.
        audit: compare both KV caches with a recompute after every step; slower.
        record_optimum: compute and record the optimum of every node, and what each rule can expect there; slower.
        until: stop after the first step that meets one of these, as ``--until`` takes them: ``parting``, ``nothing``,
            ``audit``, ``token=ID``, ``text=TEXT``, ``entropy>NATS``, ``prob<P``.
        progress: called with a message and a fraction in [0, 1] (None while it is not known) while models are fetched
            and loaded.
        on_step: called with every step once it is recorded.

    Raises:
        SettingsError: for an argument that no run can have, before a model is loaded.
        ModelError: if a model cannot be found, read or used.
        VerifierError, NumericsError, OutOfMemoryError: in the middle of a run; the error's ``trace`` holds the steps
            before it.
        RecordingInterrupted: a KeyboardInterrupt in the middle of a run; its ``trace`` likewise.
    """
    from specviz.engine.resolve import resolve
    from specviz.engine.run_until import run_until
    from specviz.engine.session import Session
    from specviz.models.processors import load_named
    from specviz.verifiers import named_verifiers

    names, known = named_verifiers(verifiers)
    asked = parse_processors(processors, processor_mode, draft=processor_draft)
    if asked is None and (processor_mode != "exact" or processor_draft):
        raise SettingsError(
            "A mode of processors, or their work on the draft, was asked for and no processor is given; name one, e.g. "
            "repetition_penalty:penalty=1.2, or leave these out."
        )
    load_named(asked)
    sampling = build_sampling(temperature=temperature, top_k=top_k, top_p=top_p, eta_cutoff=eta_cutoff)
    settings = build_settings(
        target=sampling,
        draft=draft_sampling(sampling, draft_temperature, top_k=draft_top_k, top_p=draft_top_p),
        builder=tree_choice(builder, tree, proposal, builder_options or {}),
        verifiers=verifier_choices(names, verifier_options or {}),
        driver=driver or names[0],
        processors=asked,
        seed=seed,
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        chat=chat,
        prompt_end_token=prompt_end_token,
        audit=audit,
        record_optimum=record_optimum,
    )
    breakpoints = parse_short([until] if isinstance(until, str) else until)
    resolve(settings, known)  # whatever can be refused without a model is refused before one is loaded
    models = ModelChoice(
        *pair_names(preset, target, draft),
        device,
        dtype,
        target_quantization,
        draft_quantization,
        allow_renamed_tokens=allow_renamed_tokens,
        **heads_texts(head_reads, head_options),
    )
    session = Session(models.load(progress), settings, prompt, known=known)
    try:
        for _ in run_until(session, breakpoints=breakpoints):
            if on_step is not None:
                on_step(session.steps[-1])
    except SpecvizError as error:
        error.trace = session.trace if session.steps or session.failed else None
        raise
    except KeyboardInterrupt:
        raise RecordingInterrupted(session.trace) from None
    return session.trace
