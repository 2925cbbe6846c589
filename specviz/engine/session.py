"""A run of speculative decoding, step by step: draft, score, verify, commit, record.

The engine yields steps. It never prints, formats or sleeps, and does not know the app.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

import torch

from specviz import __version__
from specviz.dice import SeededDice
from specviz.drafting import Limits, build_tree
from specviz.engine.audit import HeadInput, ask_audit, ask_head_audit
from specviz.engine.head_runners import HeadRunner, draft_runner
from specviz.engine.processed import processed_scores, with_other_mode
from specviz.engine.recording import Attempt, record_attempt, record_step, record_tree
from specviz.engine.resolve import resolve
from specviz.engine.row_recording import Texts
from specviz.engine.run_until import run_until
from specviz.engine.runners import TargetRunner
from specviz.engine.step_clock import StepClock
from specviz.engine.step_values import Commit, Scores, StepPart, StepProgress, Verified
from specviz.engine.verifying import ask_target_draws, judge_all, walk_all
from specviz.errors import OutOfMemoryError, SettingsError, SpecvizError
from specviz.interruption import endable
from specviz.models.devices import is_out_of_memory
from specviz.models.loading import Pair
from specviz.models.nonfinite import LogitsError, told_with
from specviz.models.processors import About, make_processing
from specviz.sampling import process
from specviz.trace.identity import refuse_other_models
from specviz.trace.schema import LONGEST_PROMPT, Caches, EndReason, FailedStep, ForkedFrom, Settings, Step, Trace, cut
from specviz.trace.stop_strings import completed
from specviz.transfers import Reads
from specviz.tree import TokenTree
from specviz.verifiers import StepLuck, Verifier, proof_table

_BYTES_A_NODE, _BYTES_AN_ENTRY, _BYTES_A_SLOT = 10_000, 150, 1_000
"""Memory of a recorded step: what a node takes with six verifiers, what every entry of its recorded distributions adds,
and what a slot of the caches takes, those of pruned nodes among them. Measured: 6 to 11 kB a node with ten entries, 12
to 23 kB with a hundred."""


Watcher = Callable[[TokenTree, torch.Tensor, Mapping[str, Verified]], None]
"""Called with the tree, the target's processed rows [n, V] and every verifier's results, which are recorded in part."""


class Session:
    """A live run: the trace so far, and the caches of both models with which it goes on.

    A step depends only on the models, the settings, the committed tokens and its index. So the same seed gives the same
    trace, and a session resumed from a trace goes on as the recorded run would have.

    Args:
        tokens: the prompt's tokens, at least one; None for those that the pair's tokenizer makes of it.
        known: see :func:`specviz.engine.resolve.resolve`.

    Attributes:
        watch: called in every step once all verifiers are done. Its time is in none of the step's timings.
        on_progress: called with what a step is about to do. Nothing waits for the device to say it.
        must_end: asked between the parts of a long judgement, see :mod:`specviz.interruption`; None: by none of ours.
        failed: what is known of the step that failed, if one did.

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
        self._resolved = resolve(settings, known)
        if len(prompt) > LONGEST_PROMPT:  # no file could hold it
            raise SettingsError(
                f"The prompt has {len(prompt):,} characters and a run takes {LONGEST_PROMPT:,}; shorten it."
            )
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
            SettingsError: for settings no run can have, and for another pair than the one that recorded the trace,
                which never ran its steps.
            TraceError: for another engine's run.
        """
        assert not same or (steps is None and settings is None)
        recorded = trace.own_settings()
        refuse_other_models(pair.models, trace.models)
        session = cls.__new__(cls)
        chosen = settings or recorded
        session._resolved = resolve(chosen)
        kept = list(trace.steps if steps is None else trace.steps[:steps])
        if chosen != recorded:
            kept = [step if step.settings else step.model_copy(update={"settings": recorded}) for step in kept]
        if pair.models != trace.models:  # another number format or device, or the trace records less about them
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
        self.on_progress: Callable[[StepProgress], None] | None = None
        self.must_end: Callable[[], bool] | None = None
        self.end_message: str | None = None
        self.failed: FailedStep | None = None
        self._attempt = Attempt(Texts(pair.token_text))
        self._clock = StepClock(pair.target, pair.draft)
        self.watch: Watcher | None = None
        self.id = uuid.uuid4().hex[:16]
        self._created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._dice = SeededDice(settings.seed)
        self._max_positions = min(pair.target.max_positions, pair.draft.max_positions)
        self._reads = Reads()
        self._draft_runner = draft_runner(pair.draft, self._reads, pair.target.vocabulary, settings.draft)
        about = About(len(self.prompt_tokens), pair.eos_ids, pair.target.vocabulary, str(pair.target.device))
        self._processing = make_processing(settings.processors, about)
        if self._processing and self._processing.draft:
            self._draft_runner.processing = self._processing
        reading = self._draft_runner.reading if self._resolved.builder.runs_draft else None
        self._target_runner = TargetRunner(pair.target, self._reads, reading)
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
        for _ in run_until(self, steps=steps):
            yield self.steps[-1]

    def go_on(self, max_new_tokens: int) -> None:
        """Set another token limit. A run that ended at the limit before goes on if the new one is higher."""
        self.settings = self.settings.model_copy(update={"max_new_tokens": max_new_tokens})
        if self.end_reason in ("max_new_tokens", None):
            self.end_reason = self._end(self.tokens[len(self.prompt_tokens) :])

    @property
    def held_bytes(self) -> int:
        """Memory of both caches, and roughly that of the recorded steps."""
        nodes = sum(len(step.tree.nodes) for step in self.steps)
        caches = [cache for step in self.steps for cache in (step.caches.target, step.caches.draft) if cache]
        recorded = nodes * (_BYTES_A_NODE + _BYTES_AN_ENTRY * self.settings.record_top_k)
        recorded += _BYTES_A_SLOT * sum(len(cache.appended) for cache in caches)
        return self._target_runner.cache.allocated + self._draft_runner.cache.allocated + recorded

    def release(self) -> None:
        """Give back the memory of both caches. If another step is run, it prefills them again."""
        self._target_runner.release()
        self._draft_runner.release()

    def step(self) -> Step:
        """Run one step and add it to the trace.

        Raises:
            SpecvizError: what went wrong, in one sentence. The run has ended; the steps before are intact.
            StepEndedError: if :attr:`must_end` said so. The run has not ended; the same step can be run again.
        """
        assert self.end_reason is None, "the run has ended"
        try:
            with torch.inference_mode(), told_with(step=len(self.steps) + 1), endable(self.must_end):
                step = self._step()
        except BaseException as error:  # an interrupt, too, leaves the caches in the middle of a step
            try:
                if isinstance(error, SpecvizError):
                    self.end_reason, self.end_message = "error", cut(str(error))
                    self.failed = self._failed_step(error)
            finally:
                self.release()
            if is_out_of_memory(error):
                device = self.pair.target.device
                message = f"{device} ran out of memory; choose a smaller tree, context or model."
                self.end_reason, self.end_message = "error", message
                raise OutOfMemoryError(message) from error
            raise
        finally:
            self._attempt = Attempt(Texts(self.pair.token_text))
            self._reads.drop()
        self.steps.append(step)
        self.tokens += step.committed
        self.end_reason = step.end_reason
        return step

    # -------------------------------------------------------------------------------------------- one step

    def _step(self) -> Step:
        """Draft, score, verify, commit, record."""
        self._clock.restart()
        prefilled = self._prefill()
        tree = self._draft()
        scores = self._score(tree)
        results = self._verify(tree, scores)
        if self.watch is not None:
            self.watch(tree, scores.probs, results)
        commit = self._commit(tree, scores, results[self.settings.driver])
        return self._record(prefilled, tree, scores, results, commit)

    def _tell(self, part: StepPart, number: int = 0, of: int = 0) -> None:
        if self.on_progress is not None:
            self.on_progress(StepProgress(part, number, of))

    def _prefill(self) -> int:
        """Feed cold caches everything before the root. Returns how many tokens the target was fed (0: it was live)."""
        if self.tokens[:-1] and not self._target_runner.cache.num_committed:
            self._tell("prefill", len(self.tokens) - 1)
        prefilled = self._target_runner.prefill(self.tokens[:-1], self._draft_runner.follow)
        if self._resolved.builder.runs_draft:
            self._draft_runner.prefill(self.tokens[:-1])
        return prefilled

    def _draft(self) -> TokenTree:
        """Grow the tree: one draft forward a level."""
        draft, builder, options = self._draft_runner, self._resolved.builder, self._resolved.builder_options
        most = [self._max_positions - len(self.tokens)]
        if builder.runs_draft and draft.most_depth is not None:
            most.append(draft.most_depth)
        limits = Limits(max_depth=min(most), end_tokens=self.pair.eos_ids)
        levels = builder.work(options).forwards if self.on_progress else 0
        draft.on_level = lambda level: self._tell("draft", level, max(level, levels))
        with self._clock.phase("draft"):
            draft.start_step(self.tokens)
            try:
                growth, keep = build_tree(builder, options, draft, self.tokens[-1], self._dice, len(self.steps), limits)
            finally:
                draft.on_level = None  # or the runner would keep this session, and with it the models
                # A builder that fails on rows that are no numbers is not at fault.
                self._reads.finish()
            tree, final = growth.freeze(builder.proposal(options), keep)
            draft.map_nodes(growth, final)
            tree = replace(tree, committed=tuple(self.tokens))
        self._attempt.tree = tree
        return tree

    def _score(self, tree: TokenTree) -> Scores:
        """One target forward over all nodes."""
        self._tell("score", len(tree))
        with self._clock.phase("score"):
            logits = self._target_runner.score(tree)
            if self._processing is None:
                scores = Scores(logits, process(logits, self.settings.target))
            else:
                self._reads.finish()  # a processor is not at fault where the model's rows are no numbers
                scores = processed_scores(self._processing, logits, tree, self.tokens, self.settings.target)
            self._attempt.scores = scores
        return scores

    def _verify(self, tree: TokenTree, scores: Scores) -> dict[str, Verified]:
        """Every verifier on the same tree, with the same rows and the same luck."""
        self._tell("verify", len(self._resolved.verifiers))
        with self._clock.phase("verify"):
            results = self._decide(tree, scores)
            if self._processing is None:
                return results
            return with_other_mode(self._processing, tree, scores, results, partial(self._decide, tree))

    def _decide(self, tree: TokenTree, scores: Scores) -> dict[str, Verified]:
        chosen, reads = self._resolved.verifiers, self._reads
        built_by = proof_table.Tree(self._resolved.builder, self._resolved.builder_options)
        luck = StepLuck(self._dice, len(self.steps))
        target_draws = ask_target_draws(chosen, scores, luck, reads)
        judgements = judge_all(chosen, tree, scores, reads)
        return walk_all(chosen, judgements, tree, luck, target_draws(), reads, built_by)

    def _commit(self, tree: TokenTree, scores: Scores, driver: Verified) -> Commit:
        """The driver's path and bonus, cut where the text ends. Both caches keep the slots of the committed nodes."""
        target, draft, path = self._target_runner, self._draft_runner, driver.walk.path
        self._tell("commit")
        with self._clock.phase("commit"):
            tokens = self._cut([*(tree.tokens[node] for node in path), driver.bonus.token])
            nodes = [0, *path][: len(tokens)]
            if scores.processed and (stuck := scores.processed.stuck.keys() & nodes):
                raise scores.processed.stuck[min(stuck)]
            commit = Commit(tuple(tokens), target.commit(nodes), draft.commit(nodes))
            draft.learn(target.states, nodes)
        return commit

    def _record(
        self, prefilled: int, tree: TokenTree, scores: Scores, results: Mapping[str, Verified], commit: Commit
    ) -> Step:
        """The step as a value, with the audits, which read the caches as the step leaves them."""
        attempt, settings = self._attempt, self.settings
        self._tell("record")
        with self._clock.phase("record"):
            draft_rows = self._draft_runner.rows(settings.record_top_k)
            builder = self._resolved.builder
            attempt.recorded = record_tree(
                builder.name,
                tree,
                scores,
                draft_rows,
                settings,
                attempt.texts,
                self._reads,
                self._draft_runner.outside if builder.runs_draft else None,
            )
            step = record_step(
                tree,
                attempt.recorded,
                results,
                commit,
                settings,
                attempt.texts,
                self._reads,
                index=len(self.steps),
                context=len(self.tokens),
                prefilled=prefilled,
                end_reason=self._end([*self.tokens[len(self.prompt_tokens) :], *commit.tokens]),
                timings=self._clock.timings,
            )
        if settings.audit:
            self._tell("audit")
            with self._clock.phase("audit"):
                step = step.model_copy(update={"caches": self._audited(step.caches, commit)})
        return step.model_copy(update={"timings": self._clock.timings()})

    def _audited(self, caches: Caches, commit: Commit) -> Caches:
        """The record of both caches, each with its comparison with a recompute."""
        target, draft, settings, reads = self._target_runner, self._draft_runner, self.settings, self._reads
        tokens = [*self.tokens, *commit.tokens]
        first_slot, temperature = commit.target.num_committed, settings.target.temperature
        asked = {"target": ask_audit(target.model, target.cache, tokens, first_slot, reads, temperature=temperature)}
        if self._resolved.builder.runs_draft:
            first_slot, temperature = commit.draft.num_committed, settings.draft.temperature
            if isinstance(draft, HeadRunner):
                asked["draft"] = ask_head_audit(
                    target.model, draft.model, draft.cache, tokens, draft.pending, first_slot, reads, temperature
                )
            else:
                head_input = HeadInput(target.model, draft.features) if draft.features is not None else None
                asked["draft"] = ask_audit(draft.model, draft.cache, tokens, first_slot, reads, head_input, temperature)
        audited = {name: getattr(caches, name).model_copy(update={"audit": audit()}) for name, audit in asked.items()}
        return caches.model_copy(update=audited)

    @torch.inference_mode()
    def _failed_step(self, error: SpecvizError) -> FailedStep:
        """What is known of the step that just failed."""
        attempt, builder = self._attempt, self._resolved.builder
        if isinstance(error, LogitsError):
            attempt.scores = None  # on a GPU they are known not to be numbers only now
        if attempt.tree is None:
            proposal = builder.proposal(self._resolved.builder_options)
            attempt.tree = self._draft_runner.partial_tree(self.tokens[-1], proposal)
        return FailedStep(
            index=len(self.steps),
            context=len(self.tokens),
            builder=builder.name,
            proposal=attempt.tree.proposal,
            nodes=record_attempt(attempt, self._draft_runner.rows, self.settings),
            tokens=attempt.texts.seen(),
            message=cut(str(error)),
            nonfinite=error.found.recorded() if isinstance(error, LogitsError) else None,
        )

    def _cut(self, emitted: Sequence[int]) -> list[int]:
        """The tokens that become text: none after an end-of-sequence token or one that completes a stop string, none
        beyond ``max_new_tokens``."""
        new_tokens = self.tokens[len(self.prompt_tokens) :]
        before = len(new_tokens)
        for token in emitted[: self.settings.max_new_tokens - before]:
            new_tokens.append(token)
            if self._ends_text(new_tokens):
                break
        return new_tokens[before:]

    def _ends_text(self, new_tokens: Sequence[int]) -> EndReason | None:
        """Whether the last token of this output ends it by what it says."""
        settings = self.settings
        if len(new_tokens) <= settings.min_new_tokens:
            return None
        if new_tokens[-1] in self.pair.eos_ids:
            return "end of sequence"
        if settings.stop and completed(settings.stop, [*self.prompt_tokens, *new_tokens], self.pair.token_text):
            return "stop string"
        return None

    def _end(self, new_tokens: Sequence[int]) -> EndReason | None:
        """Why a run with this output goes no further, or None."""
        if new_tokens and (ended := self._ends_text(new_tokens)):
            return ended
        if len(new_tokens) >= self.settings.max_new_tokens:
            return "max_new_tokens"
        if len(self.prompt_tokens) + len(new_tokens) > self._max_positions:
            return "context limit"
        return None
