"""Any ONNX graph, asked by tensors: what it takes, what it gives, its answer. On the session models' runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from features.errors import ArtifactError, TensorError
from onnx_models.device import CPU
from onnx_models.session import open_session

DTYPES: Mapping[str, type[np.generic]] = MappingProxyType(  # by the names of onnxruntime
    {
        "tensor(bool)": np.bool_,
        "tensor(uint8)": np.uint8,
        "tensor(uint16)": np.uint16,
        "tensor(uint32)": np.uint32,
        "tensor(uint64)": np.uint64,
        "tensor(int8)": np.int8,
        "tensor(int16)": np.int16,
        "tensor(int32)": np.int32,
        "tensor(int64)": np.int64,
        "tensor(float16)": np.float16,
        "tensor(float)": np.float32,
        "tensor(double)": np.float64,
        "tensor(string)": np.object_,
    }
)
Tensors = Mapping[str, NDArray[Any]]


class TensorSpec(NamedTuple):
    """Of an input or an output."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]  # -1 where any size goes


class TensorModel:
    """A graph that is asked by tensors. Thread-safe.

    Args:
        name: by which it is asked for.
        version: of the model.
        session: of the graph.
        defaults: of each input that need not be given, what it is by those that must.

    Raises:
        ArtifactError: one of its inputs or outputs is no tensor.
    """

    def __init__(
        self,
        name: str,
        version: str,
        session: onnxruntime.InferenceSession,
        defaults: Mapping[str, Callable[[Tensors], NDArray[Any]]] = MappingProxyType({}),
    ) -> None:
        self.name, self.version = name, version
        self._session, self._defaults = session, dict(defaults)
        self.inputs = _specs(name, session.get_inputs())
        self.outputs = _specs(name, session.get_outputs())

    def infer(self, given: Tensors, wanted: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """Return the outputs that are wanted, all if none is named.

        Raises:
            TensorError: an input is missing, of another type or shape, or foreign; an output is; or the graph raises.
        """
        specs = {spec.name: spec for spec in self.inputs}
        for name, tensor in given.items():
            if name not in specs:
                msg = f"{self.name} has no input {name!r}; it has {', '.join(specs)}"
                raise TensorError(msg)
            _check(self.name, specs[name], tensor)
        if missing := sorted(specs.keys() - given.keys() - self._defaults.keys()):
            msg = f"{self.name}: the input {', '.join(missing)} is missing; it takes {', '.join(specs)}"
            raise TensorError(msg)
        names = [spec.name for spec in self.outputs]
        if foreign := sorted(set(wanted) - set(names)):
            msg = f"{self.name} has no output {', '.join(foreign)}; it has {', '.join(names)}"
            raise TensorError(msg)
        asked = [*wanted] or names
        try:
            feed = {name: given[name] if name in given else self._defaults[name](given) for name in specs}
            answers = self._session.run(asked, feed)
        except Exception as error:  # onnxruntime's errors have no base of their own
            msg = f"{self.name} raised {type(error).__name__}: {error}"
            raise TensorError(msg) from error
        return dict(zip(asked, answers, strict=True))


def open_tensors(name: str, graph: Path, device: str = CPU) -> TensorModel:
    """Return the graph in `graph` as a model.

    Raises:
        ArtifactError: it is none that onnxruntime can open.
    """
    try:
        session = open_session(graph, device)
    except ArtifactError:
        raise
    except Exception as error:  # onnxruntime's errors have no base of their own
        msg = f"{graph} is no ONNX graph that onnxruntime {onnxruntime.__version__} can open: {error}"
        raise ArtifactError(msg) from error
    return TensorModel(name, "1", session)


def _specs(name: str, nodes: Sequence[Any]) -> list[TensorSpec]:
    specs = []
    for node in nodes:
        if node.type not in DTYPES:
            msg = f"{name}: {node.name} is a {node.type}, expected a tensor; export it without sequences and maps"
            raise ArtifactError(msg)
        shape = tuple([size if isinstance(size, int) else -1 for size in node.shape])
        specs.append(TensorSpec(node.name, DTYPES[node.type], shape))
    return specs


def _check(model: str, spec: TensorSpec, tensor: NDArray[Any]) -> None:
    if tensor.dtype != spec.dtype:
        msg = f"{model}: the input {spec.name} is {tensor.dtype}, expected {np.dtype(spec.dtype)}"
        raise TensorError(msg)
    fits = len(tensor.shape) == len(spec.shape) and all(
        want in (-1, got) for got, want in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        msg = f"{model}: the input {spec.name} has the shape {[*tensor.shape]}, expected {[*spec.shape]} (-1: any size)"
        raise TensorError(msg)
