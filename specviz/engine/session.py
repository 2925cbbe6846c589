"""The decode: draft, score, verify, commit; one :class:`~specviz.trace.schema.Step` at a time.

The engine yields. It never prints, formats or sleeps, and knows no page.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import torch

from specviz import __version__
from specviz.dice import SeededDice
from specviz.drafting import BUILDERS, Builder, Limits, build_tree
from specviz.engine.audit import HeadInput, audit
from specviz.engine.recording import (
    Attempt,
    Texts,
    Verified,
    record_attempt,
    record_change,
    record_tree,
    record_verdict,
    rows_of,
)
from specviz.engine.runners import Clock, DraftRunner, TargetRunner
from specviz.errors import OutOfMemoryError, SettingsError, SpecvizError
from specviz.models.devices import is_out_of_memory
from specviz.models.loading import Pair
from specviz.models.nonfinite import LogitsError, told_with
from specviz.options import parse_options
from specviz.sampling import process
from specviz.trace.identity import refuse_other_models
from specviz.trace.schema import Caches, EndReason, FailedStep, ForkedFrom, Settings, Step, Timings, Trace, Verdict
from specviz.tree import MAX_NODES, TokenTree
from specviz.verifiers import VERIFIERS, StepLuck, Verifier, blamed, proof_table, verify

_BYTES_A_NODE = 10_000
"""Of a recorded step in memory, with six verifiers and ten entries of every distribution."""


@dataclass(frozen=True)
class Plan:
    """Settings with every name looked up and every option validated."""

    builder: Builder
    builder_options: Any
    verifiers: tuple[tuple[Verifier, Any], ...]


def plan(settings: Settings, known: Mapping[str, Verifier] | None = None) -> Plan:
    """Resolve the names in the settings.

    Args:
        known: verifiers by the name that the settings call them; None for the registered ones.

    Raises:
        SettingsError: for an unknown builder or verifier, an unfit option, or a tree that is too large.
    """
    known = VERIFIERS if known is None else known  # looked up now: a user's own may have joined
    if settings.builder.name not in BUILDERS:
        raise SettingsError(f"There is no tree builder {settings.builder.name!r}; choose from {', '.join(BUILDERS)}.")
    builder = BUILDERS[settings.builder.name]
    options: Any = parse_options(builder.Options, "builder", settings.builder)
    nodes = builder.max_nodes(options)
    if nodes > MAX_NODES:
        raise SettingsError(f"The tree can have {nodes} nodes; choose one of at most {MAX_NODES}.")
    if settings.draft.eta_cutoff:
        raise SettingsError("The eta cutoff belongs to the target; set the draft's to 0.")
    verifiers = []
    for choice in settings.verifiers:
        if choice.name not in known:
            raise SettingsError(f"There is no verifier {choice.name!r}; choose from {', '.join(known)}.")
        verifier = known[choice.name]
        verifiers.append((verifier, parse_options(verifier.Options, "verifier", choice)))
    return Plan(builder, options, tuple(verifiers))


Watcher = Callable[[TokenTree, torch.Tensor, Mapping[str, Verified]], None]
"""Is shown the tree, the target's rows [n, V] and every verifier's work, of which a step records only parts."""


class Session:
    """A live run: a trace so far, and both models' caches to go on with.

    Steps are pure in (models, settings, committed tokens, index): the same seed gives the same trace, and a session
    resumed from a trace goes on as the recorded one would have.

    Args:
        tokens: the prompt's, at least one, where they are not what the pair makes of it.
        known: see :func:`plan`.

    Attributes:
        watch: called in every step once all verifiers are done, on the time of nobody.
        failed: what is known of the step that an error ended.

    Raises:
        SettingsError: for settings no run can have.
    """

    def __init__(
        self,
        pair: Pair,
        settings: Settings,
        prompt: str,
        tokens: Sequence[int] | None = None,
        known: Mapping[str, Verifier] | None = None,
    ):
        self._plan = plan(settings, known)
        if tokens is None:
            tokens = pair.encode(prompt, settings.chat, settings.prompt_end_token)
        self._start(pair, settings, prompt, tokens, ())

    @classmethod
    def resume(
        cls,
        pair: Pair,
        trace: Trace,
        *,
        steps: int | None = None,
        settings: Settings | None = None,
        same: bool = False,
    ) -> Session:
        """A new run that goes on after the first ``steps`` steps of a trace (all of them by default).

        Args:
            same: go on as the run that was recorded, under its id. Only for all steps and with its settings.

        Raises:
            SettingsError: for settings no run can have, and for another pair than the one that recorded the trace: its
                steps would stand above models that never ran them.
        """
        assert not same or (steps is None and settings is None)
        refuse_other_models(pair.models, trace.models)
        session = cls.__new__(cls)
        chosen = settings or trace.settings
        session._plan = plan(chosen)
        kept = list(trace.steps if steps is None else trace.steps[:steps])
        if chosen != trace.settings:
            kept = [step if step.settings else step.model_copy(update={"settings": trace.settings}) for step in kept]
        if pair.models != trace.models:  # another number format or device, or less is recorded of them
            kept = [step if step.models else step.model_copy(update={"models": trace.models}) for step in kept]
        session._start(pair, chosen, trace.prompt, list(trace.prompt_tokens), kept)
        if same:
            session.id, session._created, session._forked_from = trace.id, trace.created, trace.forked_from
        else:
            session._forked_from = ForkedFrom(trace=trace.id, step=len(kept))
        return session

    def _start(
        self, pair: Pair, settings: Settings, prompt: str, prompt_tokens: Sequence[int], steps: Sequence[Step]
    ) -> None:
        self.pair, self.settings, self.prompt = pair, settings, prompt
        self.prompt_tokens = tuple(prompt_tokens)
        self.steps: list[Step] = list(steps)
        self.tokens: list[int] = [*prompt_tokens, *(token for step in steps for token in step.committed)]
        self._forked_from: ForkedFrom | None = None
        self.end_message: str | None = None
        self.failed: FailedStep | None = None
        self._attempt = Attempt()
        self.watch: Watcher | None = None
        self.id = uuid.uuid4().hex[:16]
        self._created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._dice = SeededDice(settings.seed)
        self._max_positions = min(pair.target.max_positions, pair.draft.max_positions)
        self._target = TargetRunner(pair.target, pair.draft.head if self._plan.builder.runs_draft else None)
        self._draft = DraftRunner(pair.draft, pair.target.vocabulary, settings.draft)
        if len(prompt_tokens) > self._max_positions:
            raise SettingsError(
                f"The prompt has {len(prompt_tokens)} tokens and the models read {self._max_positions}; shorten it."
            )
        if max(self.tokens) >= pair.target.vocabulary:
            raise SettingsError(
                f"The trace has a token {max(self.tokens)} and the target knows {pair.target.vocabulary}; go on with "
                "the models that recorded it."
            )
        self.end_reason: EndReason | None = self._end(self.tokens[len(self.prompt_tokens) :])

    # ----------------------------------------------------------------------------------------------- running

    @property
    def trace(self) -> Trace:
        """The run so far, as a value."""
        texts = Texts(self.pair.token_text)
        texts.mention(self.prompt_tokens)
        return Trace(
            id=self.id,
            created=self._created,
            specviz_version=__version__,
            models=self.pair.models,
            settings=self.settings,
            prompt=self.prompt,
            prompt_tokens=self.prompt_tokens,
            prompt_texts=texts.seen(),
            end_tokens=tuple(sorted(self.pair.eos_ids)),
            steps=tuple(self.steps),
            end_reason=self.end_reason or ("stopped" if self.steps else None),
            end_message=self.end_message,
            forked_from=self._forked_from,
            failed=self.failed,
        )

    def run(self, steps: int | None = None) -> Iterator[Step]:
        """Yield up to ``steps`` steps (None: until the run ends). Closing the iterator stops between two steps."""
        done = 0
        while self.end_reason is None and (steps is None or done < steps):
            yield self.step()
            done += 1

    def go_on(self, max_new_tokens: int) -> None:
        """Set another token limit; a run that reached the one before goes on if this one is later."""
        self.settings = self.settings.model_copy(update={"max_new_tokens": max_new_tokens})
        if self.end_reason in ("max_new_tokens", None):
            self.end_reason = self._end(self.tokens[len(self.prompt_tokens) :])

    @property
    def held_bytes(self) -> int:
        """What both caches take, and about what the recorded steps do."""
        recorded = _BYTES_A_NODE * sum(len(step.tree.nodes) for step in self.steps)
        return self._target.cache.allocated + self._draft.cache.allocated + recorded

    def release(self) -> None:
        """Give the memory of both caches back; a step that comes after all is prefilled again."""
        self._target.release()
        self._draft.release()

    def step(self) -> Step:
        """Run one step and add it to the trace.

        Raises:
            SpecvizError: what went wrong in one sentence; steps before are intact and the run has ended.
        """
        assert self.end_reason is None, "the run has ended"
        try:
            with torch.inference_mode(), told_with(step=len(self.steps) + 1):
                step = self._step()
        except BaseException as error:  # an interrupt, too, leaves the caches in the middle of something
            try:
                if isinstance(error, SpecvizError):
                    self.end_reason, self.end_message = "error", str(error)
                    self.failed = self._failed_step(error)
            finally:
                self.release()
            if is_out_of_memory(error):
                message = f"{self._target.model.device} ran out of memory; choose a smaller tree, context or model."
                self.end_reason, self.end_message = "error", message
                raise OutOfMemoryError(message) from error
            raise
        finally:
            self._attempt = Attempt()
        self.steps.append(step)
        self.tokens += step.committed
        self.end_reason = step.end_reason
        return step

    # -------------------------------------------------------------------------------------------- one step

    def _step(self) -> Step:
        index, context, settings = len(self.steps), len(self.tokens), self.settings
        builder, options = self._plan.builder, self._plan.builder_options
        target, draft, attempt = self._target, self._draft, self._attempt
        texts = attempt.texts = Texts(self.pair.token_text)
        clock = Clock(self.pair.target, self.pair.draft)

        # 0. A cold start feeds everything before the root; a live session has it in its caches already.
        prefilled = target.prefill(self.tokens[:-1])
        if builder.runs_draft:
            draft.prefill(self.tokens[:-1], target.states)
        clock.start()

        # 1. Draft: one draft forward a level.
        limits = Limits(max_depth=self._max_positions - context, end_tokens=self.pair.eos_ids)
        draft.start_step(self.tokens)
        growth, keep = build_tree(builder, options, draft, self.tokens[-1], self._dice, index, limits)
        tree, final = growth.freeze(builder.proposal(options), keep)
        draft.map_nodes(growth, final)
        attempt.tree = tree
        draft_seconds, build_seconds = clock.lap()

        # 2. Score: one target forward over all nodes.
        logits = target.score(tree)
        probs = process(logits, settings.target)
        attempt.scored = logits, probs
        target_seconds, score_seconds = clock.lap()

        # 3. Verify: every verifier on the same tree, the same rows and the same luck.
        luck = StepLuck(self._dice, index)
        verified: dict[str, Verified] = {}
        for verifier, verifier_options in self._plan.verifiers:
            with blamed(verifier):
                done = verify(verifier, *_own_copy(verifier, tree, probs), verifier_options, luck)
                lossless = proof_table.says(
                    verifier, verifier_options, tree.proposal, proof_table.Tree(builder, options)
                )
                verified[verifier.name] = Verified(verifier, verifier_options, *done, lossless)
        _, verify_seconds = clock.lap()
        if self.watch is not None:
            self.watch(tree, probs, verified)
            clock.start()

        # 4. Commit: the driver's path and bonus, cut where the text ends; both caches keep what was committed.
        driver = verified[settings.driver]
        emitted = [*(tree.tokens[node] for node in driver.walk.path), driver.bonus.token]
        committed = self._cut(emitted, context - len(self.prompt_tokens))
        kept_nodes = [0, *driver.walk.path][: len(committed)]
        target_change = target.commit(kept_nodes)
        draft_change = draft.commit(kept_nodes)
        draft.set_features(target.states, kept_nodes[-1])
        commit_seconds = clock.lap()[1]

        # 5. Record, and audit against a recompute while the caches are what they are.
        target_rows = rows_of(logits, probs, settings.target, settings.record_top_k, texts)
        draft_rows = draft.rows(settings.record_top_k, texts)
        recorded = attempt.recorded = record_tree(builder.name, tree, probs, target_rows, draft_rows, texts)
        verdicts: dict[str, Verdict] = {}
        for name, one in verified.items():
            with blamed(one.verifier):
                verdicts[name] = record_verdict(one, settings.record_top_k, texts)
        changes = [
            record_change(runner.cache, *change) for runner, change in ((target, target_change), (draft, draft_change))
        ]
        texts.mention([slot.token for change in changes for slot in change.appended])
        texts.mention(committed)
        _, record_seconds = clock.lap()
        if settings.audit:
            tokens = [*self.tokens, *committed]
            heat, first = settings.target.temperature, changes[0].length_before
            audits = [audit(target.model, target.cache, tokens, first, temperature=heat)]
            if builder.runs_draft:
                head_input = HeadInput(target.model, draft.features) if draft.features is not None else None
                heat, first = settings.draft.temperature, changes[1].length_before
                audits.append(audit(draft.model, draft.cache, tokens, first, head_input, heat))
            for i, found in enumerate(audits):
                changes[i] = changes[i].model_copy(update={"audit": found})
        _, audit_seconds = clock.lap()

        return Step(
            index=index,
            context=context,
            tree=recorded,
            verdicts=verdicts,
            driver=settings.driver,
            committed=tuple(committed),
            end_reason=self._end([*self.tokens[len(self.prompt_tokens) :], *committed]),
            caches=Caches(target=changes[0], draft=changes[1]),
            tokens=texts.seen(),
            timings=Timings(
                draft=draft_seconds,
                target=target_seconds,
                build=build_seconds,
                verify=score_seconds + verify_seconds,
                commit=commit_seconds,
                record=record_seconds,
                audit=audit_seconds,
            ),
            prefilled=prefilled,
        )

    @torch.inference_mode()
    def _failed_step(self, error: SpecvizError) -> FailedStep:
        """What is known of the step that just failed."""
        attempt, builder = self._attempt, self._plan.builder
        if attempt.tree is None:
            attempt.tree = self._draft.partial_tree(self.tokens[-1], builder.proposal(self._plan.builder_options))
        texts = attempt.texts or Texts(self.pair.token_text)
        return FailedStep(
            index=len(self.steps),
            context=len(self.tokens),
            builder=builder.name,
            proposal=attempt.tree.proposal,
            nodes=record_attempt(attempt, self._draft.rows, self.settings, texts),
            tokens=texts.seen(),
            message=str(error),
            nonfinite=error.found.recorded() if isinstance(error, LogitsError) else None,
        )

    def _cut(self, emitted: Sequence[int], done: int) -> list[int]:
        """The tokens that become text: none after an end-of-sequence token, none beyond ``max_new_tokens``."""
        committed = list(emitted[: self.settings.max_new_tokens - done])
        for i, token in enumerate(committed):
            if token in self.pair.eos_ids:
                return committed[: i + 1]
        return committed

    def _end(self, new_tokens: Sequence[int]) -> EndReason | None:
        """Why a run with this output goes no further, or None."""
        if new_tokens and new_tokens[-1] in self.pair.eos_ids:
            return "end of sequence"
        if len(new_tokens) >= self.settings.max_new_tokens:
            return "max_new_tokens"
        if len(self.prompt_tokens) + len(new_tokens) > self._max_positions:
            return "context limit"
        return None


def _own_copy(verifier: Verifier, tree: TokenTree, probs: torch.Tensor) -> tuple[TokenTree, torch.Tensor]:
    """Tree and rows for one verifier: copies for one of a user's own, which may write into them and spoil the next."""
    if verifier.judge.__module__.startswith("specviz."):
        return tree, probs
    return replace(tree, rows=tree.rows.clone()), probs.clone()


__all__ = ["Pair", "Plan", "Session", "plan"]
