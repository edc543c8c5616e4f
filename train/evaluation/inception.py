"""The Inception network of 2015 that FID and KID are defined by, and its features of a data set, kept on disk.

Shapes: N pictures, H W pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from unittest import mock

import numpy as np
import safetensors.numpy
import torch

from stylesdf.files import replacing, text_instead
from train.data.images import ImageSet, default_cache_dir
from train.evaluation.features import CHUNK, FeatureNetwork, resize_bytes

SIZE = 256  # pixels at which pictures are compared; the network enlarges them to its own 299 itself
NUM_FEATURES = 2048
FORMAT = 1  # of the kept features


def load_inception(path: str | Path | None = None, device: str | torch.device = "cpu") -> FeatureNetwork:
    """Load the network that FID is published with, the one of 2015-12-05 with 2,048 features.

    Args:
        path: TorchScript file whose forward takes 8-bit pictures and ``return_features=True``, as the widely used
            ``inception-2015-12-05.pt``; None takes torch-fidelity's, which downloads its weights at the first call.
        device: Where to compute.

    Raises:
        ValueError: The file is not such a network; or there is none and torch-fidelity cannot be had.
    """
    inception = _from_library(device) if path is None else _from_file(Path(path), device)
    try:
        found = tuple(inception(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)).shape)
    except (RuntimeError, TypeError, AttributeError) as error:  # TorchScript raises RuntimeError for its arguments too
        raise ValueError(
            f"{path} does not take pictures with return_features=True ({_first_line(error)}), expected the Inception "
            "network of 2015-12-05"
        ) from error
    if found != (2, NUM_FEATURES):
        raise ValueError(f"{path} has features {found} of 2 pictures, expected (2, {NUM_FEATURES})")
    return inception


def _from_file(path: Path, device: str | torch.device) -> FeatureNetwork:
    if not path.is_file():
        raise ValueError(f"there is no file {path}, expected the Inception network as TorchScript")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, the form this network is shared in
            network = torch.jit.load(path, map_location=device).eval()
    except RuntimeError as error:
        reason = text_instead(path.read_bytes()[:1024]) or _first_line(error)
        raise ValueError(f"{path} is not TorchScript ({reason}), expected the Inception network") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return FeatureNetwork(f"TorchScript, sha256 {digest[:16]}", lambda x: network(x, return_features=True), device)


def _from_library(device: str | torch.device) -> FeatureNetwork:
    elsewhere = "or give its TorchScript file with --inception FILE"
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except (ImportError, RuntimeError, OSError) as error:  # a torchvision of another torch raises RuntimeError
        raise ValueError(
            f"the Inception network needs torch-fidelity, and that a torchvision made for torch {torch.__version__} "
            f"({_first_line(error)}): pip install torch-fidelity, {elsewhere}"
        ) from error
    try:
        # the library would unpickle its download; torch's own switch keeps it to tensors
        with mock.patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}):
            network = FeatureExtractorInceptionV3("inception-v3-compat", [str(NUM_FEATURES)]).to(device)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = _first_line(error) if isinstance(error, OSError) else "what was downloaded are not its weights"
        raise ValueError(
            f"the Inception network could not be fetched from {URL_INCEPTION_V3} ({reason}): fetch it, {elsewhere}"
        ) from error
    return FeatureNetwork(f"torch-fidelity, {Path(URL_INCEPTION_V3).stem}", lambda x: network(x)[0], device)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def data_features(
    data: ImageSet,
    pictures: str,
    inception: FeatureNetwork,
    resize: str,
    report: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Return the features of every picture of a data set, computed or as an earlier evaluation has kept them.

    The features themselves are kept, for KID needs them; their mean and covariance take seconds.

    Args:
        data: Pictures; features of one without an identity are not kept.
        pictures: ``"image"`` or ``"thumbnail"``: which of its arrays.
        inception: The network.
        resize: Of ``RESIZE_FILTERS``.
        report: Called with the number of pictures that are done.

    Returns:
        ``(N, 2048)`` float32.
    """
    key = {"format": FORMAT, "data": data.identity, "pictures": pictures, "size": SIZE, "resize": resize}
    text = json.dumps(key | {"network": inception.identity}, sort_keys=True)
    path = default_cache_dir() / "inception" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    if data.identity and path.is_file():
        features = safetensors.numpy.load_file(path)["features"]
        report(len(features))
        return features
    arrays, rows = {"image": data.images, "thumbnail": data.thumbnails}[pictures], []
    for first in range(0, len(data), CHUNK):
        chunk = torch.from_numpy(np.array(arrays[first : first + CHUNK, :3]))
        rows.append(inception(resize_bytes(chunk, SIZE, resize)).numpy())
        report(min(first + CHUNK, len(data)))
    features = np.concatenate(rows)
    if data.identity:
        with replacing(path) as temporary:
            temporary.write_bytes(safetensors.numpy.save({"features": features}, metadata={"key": text}))
    return features
