"""A run from its request to its evidence: in sittings, put down at every pause, taken up where it was left."""

import dataclasses
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from PIL import Image

from cgidm.errors import UserError
from cgidm.evidence.anchors.signature import sign_bundle
from cgidm.evidence.bundle_writer import pack_evidence, weights_sha256, write_evidence
from cgidm.evidence.record import Record, StatementsRecord, StoppedRecord
from cgidm.evidence.record_of_result import MIRRORED, make_record
from cgidm.judging.banks.null_bank import check_bank
from cgidm.judging.result import Result
from cgidm.pictures.images import decode_picture, to_uint8
from cgidm.run.events import RunEvent, RunProgress, Trouble

from . import hardware
from .attempts import count_attempt
from .download_cache import fetch_models
from .gpu_worker import PACE, GpuJob, recovery_rows, work
from .model_cache import OpenedModels, models_record, open_models
from .shipped_controls import SHIPPED_SCORES
from .signing import operator_key
from .store import Run

SAVE_SECONDS = 5.0  # between two states on disk: the work lost in a crash


def execute_run(run: Run, token: str | None = None) -> Generator[RunEvent]:
    """Do what `run` asks for, from wherever it was put down, yielding often. Closing the iterator puts it down.

    Raises:
        UserError: if a model or picture cannot be used.
    """
    if run.is_finished:
        yield RunEvent(phase="finished")
        return
    with run.lock():
        yield from _execute(run, token)


def _execute(run: Run, token: str | None) -> Generator[RunEvent]:
    yield RunEvent(phase="loading")
    models, unrelated = open_run_models(run, token)
    fetch_models(models, unrelated)
    check_bank_fits(run, models)
    config, controls = run.settings.config(), tuple(run.controls())
    progress = run.progress()
    job = GpuJob(
        models=models,
        pictures=tuple(run.pictures()),
        controls=controls,
        config=config,
        bank=run.bank(),
        unrelated=unrelated,
        progress=progress,
    )
    scoring = job.scoring
    if progress.plan is None:
        progress = replace(progress, control_scores=SHIPPED_SCORES.get(models, controls, scoring))
        job = replace(job, progress=progress)
    attempt = count_attempt(run.private_dir.parent, run.name, weights_sha256(models.suspect))
    recorder = RunRecorder(run, models, unrelated, progress, StatementsRecord(attempt=attempt))
    try:
        while not recorder.is_finished and run.exists:
            with closing(work(replace(job, steps=_steps_in_a_sitting(job)))) as events:
                for event in events:
                    if not run.exists:
                        return
                    yield recorder.record(event)
            job = replace(job, progress=recorder.progress)
    except Exception as error:
        trouble = explain(error)
        if trouble is None:
            raise
        recorder.save()
        yield RunEvent(phase="paused", done=recorder.place[0], of=recorder.place[1], trouble=trouble)
    finally:
        SHIPPED_SCORES.put(models, controls, scoring, recorder.progress.control_scores)
        recorder.save()


def open_run_models(
    run: Run, token: str | None = None, civitai_key: str | None = None
) -> tuple[OpenedModels, OpenedModels | None]:
    """Open the models of a run, and those of its unrelated suspect if one was named. Only headers are downloaded.

    Args:
        run: the run.
        token: the visitor's own, for the Hub.
        civitai_key: the visitor's own, for Civitai. What was downloaded with it is opened without it.

    Raises:
        UserError: if one is missing, out of reach, unsafe, or too large for this machine.
    """
    requested, unrelated = run.requested_models(), run.settings.unrelated
    models = open_models(requested, token, civitai_key)
    if not unrelated:
        return models, None
    return models, open_models(replace(requested, suspect=unrelated, upload=None), token, civitai_key)


def check_bank_fits(run: Run, models: OpenedModels) -> None:
    """Check that the run's bank was made for its models, which must have been downloaded.

    Raises:
        UserError: if it was made for other models or settings.
    """
    if (bank := run.bank()) is not None:
        fingerprints = {f: models.base.listing.sha256(f) for f in models.base.weights}
        check_bank(bank, fingerprints, models.suspect.is_full_network, run.settings.config(), [models.prompt])


class RunRecorder:
    """Saves what comes of a run: on disk, and for the person who watches."""

    def __init__(
        self,
        run: Run,
        models: OpenedModels,
        unrelated: OpenedModels | None,
        progress: RunProgress,
        statements: StatementsRecord | None = None,
    ) -> None:
        self.run, self.progress, self._statements = run, progress, statements
        self._models, self._unrelated, self._config = models, unrelated, run.settings.config()
        self.is_finished = False
        self.place = (0, 0)  # steps done, steps in all
        self._result: Result | None = None
        self._curve: list[float] = []
        self._timed_from: tuple[float, int] | None = None  # when which step was done
        self._saved = time.monotonic()

    def record(self, event: RunEvent) -> RunEvent:
        """Keep what the event holds, and add what a viewer wants to know: the time that is left, and the curve."""
        if event.refusal is not None:
            raise event.refusal
        if event.progress is not None:
            self.progress = event.progress
        if event.phase == "answered":
            assert event.result is not None
            record = self._make_record(event.result)
            self.run.write_answer(dataclasses.replace(record, stopped=None))  # its recovery is still to come
        elif event.result is not None:
            self._result = event.result
        if event.phase in ("mirror", "controls", "answered"):
            self._timed_from = None  # what takes its time now is no step
            return event
        if event.phase in ("loading", "planned"):
            return event
        if event.phase == "paused":  # a sitting is over, the run goes on in the next one
            event = replace(event, phase="preview" if self.progress.judged is None else "decoys")
        if event.contrast and event.done != self.place[0]:  # a preview at the start of a sitting repeats the last step
            self._curve.append(sum(event.contrast) / len(event.contrast))
        if event.phase in ("preview", "judged") and self._result is not None:
            write_live(self.run.public_dir, self._result, event.done)
        if event.phase == "judged":
            self._timed_from = None
        if self.progress.judged is not None and event.progress is not None and event.phase != "finished":
            event = replace(event, done=self._decoy_steps)  # once the pictures are judged, the decoys' steps count
        self.place = (event.done, event.of)
        event = replace(event, curve=tuple(self._curve), remaining=self._remaining(event))
        if event.phase == "finished":
            self._write_evidence()
            self.is_finished = True
        elif event.phase == "judged" or time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()
        return event

    def save(self) -> None:
        """Write the progress that the run can be taken up from, and its record so far.

        The evidence waits for the end: a run is put down in the loop that serves everybody.
        """
        if self.is_finished or not self.progress.states or self._result is None or not self.run.exists:
            return
        self.run.save_progress(self.progress)
        record = self._make_record(self._result)
        if self.progress.judged is not None:  # the answer is there, and its evidence is not
            stopped = StoppedRecord(step=self._decoy_steps, of=self.place[1], decoys=True)
            record = dataclasses.replace(record, stopped=stopped)
        self.run.write_record(record)
        self._saved = time.monotonic()

    def _make_record(self, result: Result) -> Record:
        return make_record(result, models_record(self._models, self._unrelated), statements=self._statements)

    @property
    def _decoy_count(self) -> int:
        plan = self.progress.plan
        return 0 if plan is None or plan.lineup is None else len(plan.lineup.decoys)

    @property
    def _decoy_steps(self) -> int:
        return self.progress.decoy_steps

    def _write_evidence(self) -> None:
        result, folder, plan = self._result, self.run.public_dir, self.progress.plan
        assert result is not None and plan is not None
        assert result.framing is not None
        sent = self.run.controls()
        controls = [decode_picture(sent[i].data, sent[i].name, result.framing) for i in plan.controls]
        models, language = models_record(self._models, self._unrelated), self.run.settings.language
        write_evidence(result, folder, models, controls, self._statements, language=language)
        if (key := operator_key()) is not None:
            sign_bundle(folder, key)
        pack_evidence(folder, folder / "evidence.zip")
        self.run.finalize()

    def _remaining(self, event: RunEvent) -> float | None:
        """Seconds until the end, by the steps so far: of the pictures, with those of the decoys later; or of these."""
        if event.phase in ("judged", "finished"):
            return None
        done, of = self.place
        rows, later = self._decoy_count, 0.0
        if event.phase != "decoys":
            rows = recovery_rows(max(1, len(event.contrast)), self._config)
            later = self._decoy_count * of / rows
        now = time.monotonic()
        if self._timed_from is None:
            self._timed_from = (now, done)
        begun, first = self._timed_from
        if done - first < 2:
            return None
        each = (now - begun) / (done - first)
        PACE.learn(self._models.key, each / (2 * self._config.recovery.draws * rows))
        return each * (of - done + later)


def write_live(folder: Path, result: Result, step: int) -> None:
    """Write the first picture of a run in progress: `live-original.png`, `live-partial.png`, `live-<step>.png`.

    What is recovered from its mirror image is `live-mirrored-<step>.png`.

    The folder is there: what a visitor had deleted does not come back.
    """
    first = result.pictures[0]
    for name, image in (("original", first.picture.image), ("partial", first.partial)):
        if not (folder / f"live-{name}.png").exists():
            Image.fromarray(to_uint8(image)).save(folder / f"live-{name}.png")
    for prefix, image in (("live-", first.recovered), ("live-mirrored-", first.mirrored)):
        for path in sorted(folder.glob(f"{prefix}[0-9]*.png"))[:-2]:  # a page may still be fetching the last two
            path.unlink()
        if image is not None:
            Image.fromarray(to_uint8(image)).save(folder / f"{prefix}{step:05d}.png")


def live_images(folder: Path) -> dict[str, str]:
    """Find what `write_live` wrote last: role -> file."""
    recovered, mirrored = (sorted(folder.glob(f"{prefix}[0-9]*.png")) for prefix in ("live-", "live-mirrored-"))
    if not recovered:
        return {}
    return {
        **({MIRRORED: str(mirrored[-1])} if mirrored else {}),
        "original": str(folder / "live-original.png"),
        "partial": str(folder / "live-partial.png"),
        "recovered": str(recovered[-1]),
    }


def _steps_in_a_sitting(job: GpuJob) -> int | None:
    if hardware.kind() != "zero":
        return None
    each = job.rows * 2 * job.config.recovery.draws * PACE.seconds(job.models.key)
    return max(1, int(hardware.SECONDS_PER_REQUEST / each))


def explain(error: Exception) -> Trouble | None:
    """What a refusal or an accident of the GPU means, after which a run can go on; None for any other error."""
    if isinstance(error, UserError):
        return None
    said = f"{getattr(error, 'title', '')} {error}".lower()
    if "quota" in said or "illegal duration" in said:
        return "quota"
    if "queue timeout" in said or "no gpu" in said or "credits" in said:
        return "busy"
    if "out of memory" in said:
        return "memory"
    if "worker error" in said or "aborted" in said or "cuda" in said:
        return "aborted"
    return None
