"""The Open Inference Protocol, as KServe, Triton and Seldon speak it, and the `/predict` of a plain model server.

Source: KServe, "Open Inference Protocol (V2 Inference Protocol)", HTTP/REST, with its binary tensor data extension, in
which tensors lie behind the JSON, little-endian; the header Inference-Header-Content-Length says where they begin.
"""

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from features.errors import TensorError
from onnx_models.tensors import TensorModel, TensorSpec
from streaming.serve.http import Refusal, body_of, decoded, json

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,  # texts
}
_NAME_OF = {np.dtype(dtype): name for name, dtype in DATATYPES.items()}
_EXTENSIONS = ["binary_tensor_data"]


class _Asked(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=16)]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class _Wanted(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Inference(msgspec.Struct):
    inputs: list[_Asked]
    id: str | None = None
    outputs: list[_Wanted] = []
    parameters: dict[str, Any] = {}


class Inference:
    """Answers for models by their names.

    Args:
        models: that are loaded.
        predicting: the model behind `/predict`; None: there is none.
    """

    def __init__(self, models: list[TensorModel], predicting: TensorModel | None) -> None:
        self._models = {model.name: model for model in models}
        self._predicting = predicting

    async def server(self, request: Request) -> Response:
        return json({"name": "rheostat", "version": "2", "extensions": _EXTENSIONS})

    async def model(self, request: Request) -> Response:
        model = self._named(request)
        return json(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": "onnxruntime_onnx",
                "inputs": [_metadata(spec) for spec in model.inputs],
                "outputs": [_metadata(spec) for spec in model.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        return json({"name": self._named(request).name, "ready": True})

    async def infer(self, request: Request) -> Response:
        model, raw = self._named(request), await body_of(request)
        header = raw[: _header_length(request, raw)]
        try:
            asked = msgspec.json.decode(header, type=_Inference)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(400, f"the request is no inference: {error}") from error
        tensors = _tensors(asked.inputs, memoryview(raw)[len(header) :])
        answers = await _asked_of(model, tensors, [output.name for output in asked.outputs])
        binary = {output.name for output in asked.outputs if output.parameters.get("binary_data")}
        if asked.parameters.get("binary_data_output"):
            binary |= answers.keys() - {output.name for output in asked.outputs if "binary_data" in output.parameters}
        return _answer(model, asked.id, answers, binary)

    async def predict(self, request: Request) -> Response:
        """Return `prediction`, the model's first output for the rows of `input_data`."""
        model = self._predicting
        if model is None:
            raise Refusal(404, "no model is behind /predict; start with --onnx NAME=FILE")
        rows, (spec, *_) = decoded(await body_of(request)).get("input_data"), model.inputs
        try:
            tensor = np.array(rows).astype(spec.dtype) if isinstance(rows, list) else None
        except (ValueError, TypeError, OverflowError) as error:
            raise Refusal(400, f"`input_data` is no table of {np.dtype(spec.dtype)}: {error}") from error
        if tensor is None or not tensor.size:
            raise Refusal(400, f"`input_data` is to be a list of rows, of the shape {[*spec.shape]} (-1: any size)")
        answers = await _asked_of(model, {spec.name: tensor}, [model.outputs[0].name])
        return json({"prediction": _plain(answers[model.outputs[0].name])})

    def _named(self, request: Request) -> TensorModel:
        name, version = request.path_params["name"], request.path_params.get("version")
        model = self._models.get(name)
        if model is None or version not in (None, model.version):
            there = ", ".join(f"{of.name} (version {of.version})" for of in self._models.values())
            raise Refusal(404, f"no model {name}{f' of version {version}' if version else ''}; there are {there}")
        return model


async def _asked_of(model: TensorModel, tensors: dict[str, NDArray[Any]], wanted: list[str]) -> dict[str, NDArray[Any]]:
    try:
        return await run_in_threadpool(model.infer, tensors, wanted)
    except TensorError as error:
        raise Refusal(400, str(error)) from error


def _header_length(request: Request, raw: bytes) -> int:
    said = request.headers.get(HEADER_LENGTH)
    if said is None:
        return len(raw)
    if not said.isdecimal() or int(said) > len(raw):
        raise Refusal(400, f"{HEADER_LENGTH} is {said!r}, the body has {len(raw)} bytes")
    return int(said)


def _tensors(inputs: list[_Asked], behind: memoryview) -> dict[str, NDArray[Any]]:
    """Return the tensors of a request; those of a `binary_data_size` lie `behind` it, one after the other."""
    tensors: dict[str, NDArray[Any]] = {}
    at = 0
    for asked in inputs:
        if asked.datatype not in DATATYPES:
            raise Refusal(400, f"{asked.name}: no datatype {asked.datatype}; there are {', '.join(DATATYPES)}")
        size = asked.parameters.get("binary_data_size")
        if size is None:
            tensors[asked.name] = _of_json(asked)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(behind) - at:
            raise Refusal(400, f"{asked.name}: binary_data_size is {size}, {len(behind) - at} bytes are left")
        tensors[asked.name] = _of_bytes(asked, behind[at : at + size])
        at += size
    if at < len(behind):
        raise Refusal(400, f"{len(behind) - at} bytes behind the last tensor belong to none")
    return tensors


def _of_json(asked: _Asked) -> NDArray[Any]:
    dtype = DATATYPES[asked.datatype]
    try:
        tensor = np.array(asked.data, dtype=dtype)
        return tensor.reshape(asked.shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal(
            400, f"{asked.name}: its data are no {asked.datatype} of the shape {asked.shape}: {error}"
        ) from error


def _of_bytes(asked: _Asked, raw: memoryview) -> NDArray[Any]:
    count, dtype = math.prod(asked.shape), DATATYPES[asked.datatype]
    if asked.datatype == "BYTES":
        texts, at = list[str](), 0
        while at + 4 <= len(raw):
            end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
            texts.append(bytes(raw[at + 4 : end]).decode(errors="replace"))
            at = end
        if at != len(raw) or len(texts) != count:
            raise Refusal(400, f"{asked.name}: {len(texts)} texts in {len(raw)} bytes, expected {count}")
        return np.array(texts, dtype=np.object_).reshape(asked.shape)
    little = np.dtype(dtype).newbyteorder("<")
    if len(raw) != count * little.itemsize:
        raise Refusal(400, f"{asked.name}: {len(raw)} bytes, expected {count * little.itemsize} for {asked.shape}")
    return np.frombuffer(raw, little).astype(dtype, copy=False).reshape(asked.shape)


def _answer(model: TensorModel, request_id: str | None, answers: dict[str, NDArray[Any]], binary: set[str]) -> Response:
    outputs, behind = list[dict[str, Any]](), list[bytes]()
    for name, tensor in answers.items():
        output: dict[str, Any] = {"name": name, "shape": [*tensor.shape], "datatype": _NAME_OF[tensor.dtype]}
        if name in binary:
            behind.append(_packed(tensor))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = _plain(tensor.ravel())
        outputs.append(output)
    said = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    header = msgspec.json.encode(said if request_id is None else said | {"id": request_id})
    if not behind:
        return Response(header, media_type="application/json")
    headers = {HEADER_LENGTH: f"{len(header)}"}
    return Response(header + b"".join(behind), headers=headers, media_type="application/octet-stream")


def _packed(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype == np.object_:
        texts = [str(text).encode() for text in tensor.ravel()]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()


def _plain(tensor: NDArray[Any]) -> Any:
    """Return numbers as JSON has them: what is not finite is null."""
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        plain = tensor.astype(np.object_)
        plain[~np.isfinite(tensor)] = None
        return plain.tolist()
    return tensor.tolist()


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": _NAME_OF[np.dtype(spec.dtype)], "shape": [*spec.shape]}
