"""NVML: NVIDIA's GPUs. The library comes with the driver; its C interface is called directly.

NVIDIA, NVML API Reference: energy in mJ since the driver was loaded (Volta and newer), power in mW.
"""

import ctypes
from pathlib import Path

from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import PowerMeter, SensorError
from edgekiln.runtime.typed import whole_number

LIBRARY = "libnvidia-ml.so.1"
FILES = ()  # a library, which only the machine itself can call
PERIOD_S = 0.1  # Yang et al., "Part-time Power Measurements", SC 2024, table 1: 15 to 100 ms
NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED
_MOST_GPUS = 1023
NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE


def open_meter(_root: Path, argument: str = "", library: str = LIBRARY) -> PowerMeter:
    """`argument` is the GPU's index."""
    gpu = _Gpu(library, whole_number(argument, _MOST_GPUS) or 0)
    if gpu.counts:
        return NvmlMeter(gpu)
    return Integrator("nvml", gpu.scope, gpu.watts, PERIOD_S)


class NvmlMeter:
    """A GPU that counts by itself."""

    name = "nvml"
    update_period_s = PERIOD_S

    def __init__(self, gpu: "_Gpu") -> None:
        self.scope, self._gpu = gpu.scope, gpu

    def energy_j(self) -> float:
        return self._gpu.joules()

    def close(self) -> None:
        """The library stays initialised: another meter may use it."""


class _Gpu:
    def __init__(self, library: str, index: int) -> None:
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError as error:
            raise SensorError(f"no {LIBRARY}", hint="it comes with NVIDIA's driver") from error
        self._nvml.nvmlErrorString.restype = ctypes.c_char_p
        self._call("nvmlInit_v2")
        self._handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(self._handle))
        name = ctypes.create_string_buffer(NAME_BYTES)
        self._call("nvmlDeviceGetName", self._handle, name, NAME_BYTES)
        self.scope = f"GPU {index}, {name.value.decode(errors='replace')}"
        self._energy_mj = ctypes.c_ulonglong()
        self._power_mw = ctypes.c_uint()
        status = self._nvml.nvmlDeviceGetTotalEnergyConsumption(
            self._handle, ctypes.byref(self._energy_mj)
        )
        self.counts = status != NOT_SUPPORTED

    def joules(self) -> float:
        energy = ctypes.byref(self._energy_mj)
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle, energy)
        return self._energy_mj.value / 1e3

    def watts(self) -> float:
        self._call("nvmlDeviceGetPowerUsage", self._handle, ctypes.byref(self._power_mw))
        return self._power_mw.value / 1e3

    def _call(self, function: str, *arguments: object) -> None:
        if status := getattr(self._nvml, function)(*arguments):
            words = self._nvml.nvmlErrorString(status).decode(errors="replace")
            raise SensorError(f"{function}: {words}", hint="nvidia-smi may say more")
