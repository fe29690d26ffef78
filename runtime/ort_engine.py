"""ONNX Runtime as an engine, in a process of its own for all trials."""

import contextlib
import hashlib
import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from edgekiln.runtime import codec
from edgekiln.runtime.engines import HANGS_AFTER, START_SECONDS, Facts, Placement, hung
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.faults import error_from
from edgekiln.runtime.limits import read_regular, reading_hint
from edgekiln.runtime.ort_runner import import_onnxruntime
from edgekiln.runtime.results import Trial


class OrtEngine:
    """ONNX Runtime on a model, in one process for all trials."""

    title: str = "ONNX Runtime"  # in messages

    def __init__(self, model: Path, placement: Placement, *, batch: int = 1) -> None:
        """`batch` for a model that leaves it open.

        Raises:
            MissingToolError: ONNX Runtime is not installed.
            InputError: no such file.
        """
        import_onnxruntime()
        self.path, self.placement, self.batch = model, placement, batch
        try:
            content = read_regular(model)
        except OSError as error:
            hint = reading_hint(error, "give the path of an .onnx file")
            raise InputError(f"{model}: {error.strerror}", hint) from error
        self._sha256 = hashlib.sha256(content).hexdigest()
        self._bytes = len(content)
        self._quantized = b"DequantizeLinear" in content
        self._peak_bytes = 0

    def __enter__(self) -> Self:
        command = self._command()
        self._errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        try:
            self._ready = self._read(START_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def _command(self) -> list[str]:
        places = map(str, (self.placement.threads, self.batch, *self.placement.cpus))
        return [sys.executable, "-m", "edgekiln.runtime.ort_worker", str(self.path), *places]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def trial(self, min_seconds: float, warmup_seconds: float) -> Trial:
        request = {"min_seconds": min_seconds, "warmup_seconds": warmup_seconds}
        stream = _stream(self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it died: reading will say of what
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        answer = self._read(START_SECONDS + HANGS_AFTER * (min_seconds + warmup_seconds))
        self._peak_bytes = answer["peak_resident_bytes"]
        return codec.decode(Trial, answer["trial"])

    def facts(self) -> Facts:
        return Facts(
            engine="onnxruntime",
            engine_version=self._ready["version"],
            precision="int8" if self._quantized else "float",
            model=self.path.name,
            model_sha256=self._sha256,
            target="",
            batch=self._ready["batch"],
            first_inference_s=self._ready["first_inference_s"],
            peak_resident_bytes=self._peak_bytes,
            program_bytes=self._bytes,
            arena_bytes=None,
            layers=(),
        )

    def _read(self, limit: float) -> dict[str, Any]:  # JSON of the worker
        stream = _stream(self._process.stdout)
        if not select.select([stream], [], [], limit)[0]:
            raise hung(f"{self.path}: {self.title}", limit)
        line = stream.readline()
        if line:
            return cast("dict[str, Any]", json.loads(line))  # as above
        code = self._process.wait()
        self._errors.seek(0)
        raise error_from(code, self._errors.read(), f"{self.path}: {self.title}")


def _stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # opened with PIPE
    return pipe
