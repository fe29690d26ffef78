"""Which of several OpenCL devices a program takes: the driver alone, on a loader that is a stub."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRIVER, COMMON = (ROOT / "runtime" / "c" / name for name in ("opencl", "gpu"))
FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror")
MODEL_H = "enum { MODEL_E_NO_DRIVER = 3, MODEL_E_NO_DEVICE, MODEL_E_KERNELS, MODEL_E_MEMORY };\n"
MAIN = """\
#include <stdarg.h>
#include <stdio.h>
#include "opencl_open.h"

int gpu_failed(int code, const char *hint, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("; %s\\n", hint ? hint : "");
    return code;
}

int main(void) {
    opencl_code_t program = {.text = "", .bytes = 0};
    opencl_device_t device;
    int status = opencl_open(&device, &program);
    if (!status) puts(device.name);
    return status;
}
"""


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that opens a device and says its name, beside the stub."""
    home = tmp_path_factory.mktemp("opener")
    (home / "model.h").write_text(MODEL_H)
    (home / "main.c").write_text(MAIN)
    stub = ROOT / "tests" / "opencl_stub.c"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *FLAGS, "-o", home / "libOpenCL.so.1", stub], check=True
    )
    sources = ["main.c", DRIVER / "opencl_open.c"]
    command = [
        "gcc",
        *FLAGS,
        f"-I{home}",
        f"-I{DRIVER}",
        f"-I{COMMON}",
        *sources,
        "-ldl",
        "-o",
        "opener",
    ]
    subprocess.run(command, cwd=home, check=True)
    return home / "opener"


@pytest.mark.parametrize(
    ("wanted", "code", "told"),
    [
        (None, 0, "Stub GPU"),
        ("", 0, "Stub GPU"),  # as where the variable is not set
        ("Stub 1", 0, "Stub 1"),
        ("GPU", 0, "Stub GPU"),
        ("Mali", 4, "no OpenCL device is called 'Mali': there are Stub 1, Stub GPU; name a part"),
    ],
)
def test_the_first_gpu_is_taken_or_the_device_that_is_named(
    opener: Path, wanted: str | None, code: int, told: str
) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(opener.parent), "STUB": "two"}
    environment.pop("EDGEKILN_OPENCL_DEVICE", None)
    if wanted is not None:
        environment["EDGEKILN_OPENCL_DEVICE"] = wanted
    done = subprocess.run([opener], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[: len(told)]) == (code, told)
