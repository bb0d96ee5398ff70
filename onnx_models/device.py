"""What a device is called where a model is to run."""

import re

from features.errors import DeviceError

CPU, AUTO = "cpu", "auto"  # auto: the GPU where the model runs on one
_CUDA = re.compile(r"cuda(?::(\d+))?")


def cuda_id(device: str) -> int | None:
    """Return which GPU `device` names, `cuda` the first one; None if it names the CPU.

    Raises:
        DeviceError: it names neither.
    """
    if device == CPU:
        return None
    named = _CUDA.fullmatch(device)
    if named is None:
        msg = f"device {device!r}: expected cpu, cuda or cuda:N"
        raise DeviceError(msg)
    return int(named[1] or 0)
