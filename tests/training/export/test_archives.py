"""A saved net takes its depth as an input, equals the trained net at every depth, and is its own; and a process that
was given the templates exports nothing.
"""

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import DEPTHS, VARIANTS, VariantName
from paramshare.recipes.spec import Spec
from paramshare.training.engines import train
from paramshare.training.export.archives import exported
from paramshare.training.export.kept_templates import make_templates
from support.specs import digits_spec, options_of, replace

# Fills a template that another process has made; torch exports with the help of torch._dynamo alone.
ADOPT = """
import pickle, sys
from pathlib import Path
from paramshare.training.export.archives import adopt_templates, exported
adopt_templates(pickle.loads(Path("templates").read_bytes()))
Path("archive").write_bytes(exported(*pickle.loads(Path("net").read_bytes())))
assert "torch._dynamo" not in sys.modules
"""


def loaded(archive: bytes) -> nn.Module:
    return torch.export.load(io.BytesIO(archive)).module()


@pytest.mark.parametrize("variant", ["shared", "untied"])
def test_a_saved_net_equals_the_trained_net_at_each_depth_and_for_any_batch(variant: VariantName, small: Spec) -> None:
    spec = replace(small, variant=variant)
    net = train(spec).net
    saved = loaded(exported(spec, net))
    for batch in (1, 2, 7):
        x = torch.randn(batch, options_of(small).input_size)
        for depth in DEPTHS:
            assert saved(x, depth=depth).equal(net(x, depth)), (batch, depth)


@pytest.mark.parametrize("variant", ["shared", "untied"])
def test_a_saved_net_of_the_articles_size_equals_the_trained_net_bit_for_bit(variant: VariantName) -> None:
    net = DynamicNet(variant=variant)
    x = torch.randn(64, 1000)
    saved = loaded(exported(TrainSpec(seed=0, variant=variant), net))
    for depth in DEPTHS:
        assert saved(x, depth=depth).equal(net(x, depth))


def test_a_saved_net_has_every_bit_of_the_weights(small: Spec) -> None:
    net = train(small).net
    with torch.no_grad():
        net.input_linear.bias[:4] = torch.tensor([-0.0, float("inf"), float("nan"), 1e-45])
    saved = loaded(exported(small, net)).state_dict()
    state = net.state_dict()
    assert saved.keys() == state.keys()
    assert all(saved[name].numpy().tobytes() == state[name].numpy().tobytes() for name in state)


def test_nets_saved_in_sequence_keep_their_own_weights(small: Spec) -> None:
    nets = [train(replace(small, seed=seed)).net for seed in (1, 2)]
    kept = [{name: value.clone() for name, value in net.state_dict().items()} for net in nets]
    archives = [exported(small, net) for net in nets]
    x = torch.randn(3, options_of(small).input_size)
    for net, archive, state in zip(nets, archives, kept, strict=True):
        assert loaded(archive)(x, depth=2).equal(net(x, 2))
        assert all(value.equal(state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_saved_net_refuses_a_depth_out_of_range(depth: int, small: Spec) -> None:
    saved = loaded(exported(small, train(small).net))
    with pytest.raises(AssertionError, match="depth"):
        saved(torch.randn(2, options_of(small).input_size), depth=depth)


def test_each_shape_has_one_template_without_weights(small: Spec) -> None:
    specs = [replace(small, variant=variant, seed=seed) for variant in ("shared", "untied") for seed in (1, 2)]
    templates = make_templates(specs)
    assert [template.shape.variant for template in templates] == ["shared", "untied"]
    assert make_templates([TrainSpec(seed=1)])[0].shape == TrainSpec(seed=0)
    assert make_templates([digits_spec(seed=1)])[0].shape == digits_spec(seed=0)
    assert len(pickle.dumps(make_templates([TrainSpec(seed=1)]))) < 60_000


def test_a_process_with_given_templates_exports_nothing_and_saves_the_same_net(small: Spec, tmp_path: Path) -> None:
    net = train(small).net
    (tmp_path / "templates").write_bytes(pickle.dumps(make_templates([small])))
    (tmp_path / "net").write_bytes(pickle.dumps((small, net)))
    subprocess.run([sys.executable, "-c", ADOPT], cwd=tmp_path, check=True)
    assert (tmp_path / "archive").read_bytes() == exported(small, net)


def test_a_template_on_disk_is_used_by_another_process_instead_of_an_export(small: Spec, tmp_path: Path) -> None:
    (made,) = make_templates([small], tmp_path / "kept")
    program = (
        "import pickle, sys\nfrom pathlib import Path\n"
        "from paramshare.training.export.kept_templates import make_templates\n"
        "spec = pickle.loads(Path('spec').read_bytes())\n(read,) = make_templates([spec], Path('kept'))\n"
        "assert 'torch._dynamo' not in sys.modules\nPath('read').write_bytes(pickle.dumps(read))\n"
    )
    (tmp_path / "spec").write_bytes(pickle.dumps(small))
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert pickle.loads((tmp_path / "read").read_bytes()) == made


@pytest.mark.parametrize("damage", ["cut short", "other bytes"])
def test_a_damaged_template_is_exported_again(damage: str, small: Spec, tmp_path: Path) -> None:
    (made,) = make_templates([small], tmp_path)
    (file,) = tmp_path.iterdir()
    with zipfile.ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    whole, begin = file.read_bytes(), largest.header_offset + 30 + len(largest.filename)  # of its compressed bytes
    no_deflate = whole[:begin] + b"\xff" * 8 + whole[begin + 8 :]
    file.write_bytes(whole[:100] if damage == "cut short" else no_deflate)
    assert make_templates([small], tmp_path) == (made,)
    assert zipfile.is_zipfile(file)


def test_templates_of_different_shapes_are_separate_files(small: Spec, tmp_path: Path) -> None:
    make_templates([replace(small, variant=variant, seed=seed) for variant in VARIANTS for seed in (1, 2)], tmp_path)
    assert len(list(tmp_path.iterdir())) == len(VARIANTS)
