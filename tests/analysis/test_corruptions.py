"""Every corruption does what it says, measured or worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchvision.transforms import v2

from benchmark.analysis import corruptions
from benchmark.analysis.corruptions import BY_KIND, SEVERITIES, depth, signals, sound, video
from mmdg_common import UsageError

SHAPES = {
    "video": (3, 8, 32, 40),
    "audio": (16000,),
    "depth": (1, 4, 12, 16),
    "skeleton": (3, 20, 5),
    "inertial": (6, 40),
    "signal": (2, 40),
}
EVERY = [(kind, name) for kind, of in BY_KIND.items() for name in of]


def clean(kind: str, samples: int = 2) -> torch.Tensor:
    """Return samples of a kind as a dataset loads them, nowhere 0."""
    drawn = torch.Generator().manual_seed(1)
    x = torch.rand(samples, *SHAPES[kind], generator=drawn)
    return (x * 200 + 20).to(torch.uint8) if kind == "video" else x.mul_(0.8).add_(0.1)


def corrupt(kind: str, name: str, severity: int, ids: tuple[str, ...] = ("a", "b")) -> torch.Tensor:
    """Return what a corruption makes of clean samples with these ids."""
    x, one = clean(kind), BY_KIND[kind][name]
    drawn = torch.stack([corruptions.drawn(name, one, x.shape[1:], i) for i in ids])
    return one.apply(x, one.levels[severity - 1], drawn, torch.tensor(1.0))


@pytest.mark.parametrize("kind, name", EVERY)
def test_it_keeps_shape_and_type_grows_with_severity_and_is_the_same_each_time(kind, name):
    x = clean(kind)
    off = []
    for severity in SEVERITIES:
        found = corrupt(kind, name, severity)
        assert found.shape == x.shape and found.dtype == x.dtype
        assert found.isfinite().all()
        assert torch.equal(found, corrupt(kind, name, severity))
        off.append((found.double() - x.double()).square().mean().sqrt().item())
    assert 0 < off[0] < off[-1]
    assert torch.equal(x, clean(kind))  # nothing wrote into the samples


@pytest.mark.parametrize("kind, name", EVERY)
def test_a_sample_is_corrupted_by_its_id_and_not_by_its_place(kind, name):
    x, one = clean(kind, 1), BY_KIND[kind][name]
    own = corruptions.drawn(name, one, x.shape[1:], "b")
    if own.numel():
        assert not torch.equal(own, corruptions.drawn(name, one, x.shape[1:], "a"))
    both = corrupt(kind, name, 3, ("b", "a"))
    alone = one.apply(x, one.levels[2], own[None], torch.tensor(1.0))
    torch.testing.assert_close(alone[0], both[0], rtol=1e-5, atol=1e-6)


# Video.


def test_noise_has_the_published_deviation():
    gray = torch.full((1, 3, 4, 64, 64), 128, dtype=torch.uint8)
    drawn = torch.randn(gray.shape, generator=torch.Generator().manual_seed(0))
    found = video.noisy(gray, 0.08, drawn).double() / 255
    assert found.std().item() == pytest.approx(0.08, rel=0.02)
    assert found.mean().item() == pytest.approx(128 / 255, abs=2e-3)


def test_a_point_out_of_focus_is_a_disk():
    """Of radius 3 without smoothing: 29 pixels within 3 of the middle, each 1/29."""
    point = torch.zeros(1, 3, 1, 41, 41, dtype=torch.uint8)
    point[..., 20, 20] = 255
    found = video.defocused(point, 3, 0.1)[0, 0, 0]
    y, x = torch.meshgrid(torch.arange(41) - 20, torch.arange(41) - 20, indexing="ij")
    inside = y**2 + x**2 <= 9
    assert inside.sum() == 29
    assert set(found[inside].tolist()) == {round(255 / 29)}
    assert not found[~inside].any()


@pytest.mark.parametrize("radius, alias", BY_KIND["video"]["defocus_blur"].levels)
def test_the_blur_by_fourier_transforms_is_a_convolution(radius, alias):
    image = torch.rand(2, 30, 35, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = video.disk(radius, alias).double()
    assert kernel.sum().item() == pytest.approx(1)
    reach = len(kernel) // 2
    padded = np.pad(image.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(1, 2))
    wanted = torch.from_numpy(np.einsum("cyxij,ij->cyx", windows, kernel.numpy()))
    torch.testing.assert_close(video._filtered(image, kernel), wanted)


def test_brightness_multiplies_and_saturates():
    x = torch.tensor([0, 100, 200], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    assert video.brightened(x, 1.5).flatten().tolist() == [0, 150, 255]


def test_pixels_become_the_means_of_their_blocks():
    image = torch.arange(16.0).view(1, 4, 4)
    wanted = torch.tensor([[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2)
    assert torch.equal(video.pixelated(image, 0.5)[0], wanted)
    assert torch.equal(video.pixelated(wanted[None], 0.5)[0], wanted)  # blocks stay as they are


def test_frames_are_compressed_as_torchvision_does():
    x = clean("video", 1)
    found = video.compressed(x, 10)
    for t in (0, 7):
        assert torch.equal(found[0, :, t], v2.JPEG((10, 10))(x[0, :, t]))
    assert not torch.equal(found, x)


def test_a_dropped_frame_shows_the_one_before():
    """Half of six frames: 1, 2 and 5, whose draws are the smallest; frame 0 is never dropped."""
    drawn = torch.tensor([[0.0, 0.1, 0.2, 0.8, 0.7, 0.3]])
    x = torch.arange(6, dtype=torch.uint8).view(1, 1, 6, 1, 1).expand(1, 3, 6, 2, 2)
    assert video.stuttering(x, 0.5, drawn)[0, 0, :, 0, 0].tolist() == [0, 0, 0, 3, 4, 4]
    assert video.stuttering(x, 1.0, drawn)[0, 0, :, 0, 0].tolist() == [0] * 6


# Sound.


def decibels(noise: torch.Tensor, of: torch.Tensor) -> float:
    return 20 * torch.log10(noise.square().mean().sqrt() / of.square().mean().sqrt()).item()


def tone(hertz: float, level: float, seconds: int = 2) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hertz * torch.arange(16000 * seconds) / 16000)[None]


def test_sound_gets_noise_of_the_published_deviation():
    silence = torch.zeros(1, 16000)
    one = BY_KIND["audio"]["gaussian_noise"]
    drawn = corruptions.drawn("gaussian_noise", one, silence.shape[1:], "a")[None]
    found = one.apply(silence, one.levels[4], drawn, torch.ones(1))
    assert found.std().item() == pytest.approx(0.38, rel=0.02)


def test_what_is_louder_than_a_share_of_the_peak_is_cut():
    x = torch.tensor([[0.1, -0.8, 0.3, -0.2], [0.0, 0.0, 0.0, 0.0]])
    wanted = torch.tensor([[0.1, -0.4, 0.3, -0.2], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(sound.clipped(x, 0.5), wanted)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("level", [0.01, 0.5])
def test_wind_is_mixed_at_the_level_that_it_says(severity, level):
    """Whatever the loudness of the sound, and next to it silence stays silence."""
    x, one = tone(440, level), BY_KIND["audio"]["wind"]
    drawn = corruptions.drawn("wind", one, x.shape[1:], "a")[None]
    mixture = one.apply(x, one.levels[severity - 1], drawn, torch.ones(1))
    wanted = (-16, -14, -12, -10, -8)[severity - 1]
    assert decibels(mixture - x, x) == pytest.approx(wanted, abs=1e-3)
    assert not one.apply(0 * x, -8, drawn, torch.ones(1)).any()


def test_wind_is_low_and_comes_in_gusts():
    drawn = sound.wind(torch.Size([160000]), torch.Generator().manual_seed(0))
    power = torch.fft.rfft(drawn).abs().square()
    hertz = torch.fft.rfftfreq(160000, 1 / 16000)
    assert power[hertz < 400].sum() / power.sum() > 0.6  # of white noise, a twentieth
    loudness = drawn.view(-1, 4000).square().mean(dim=1).sqrt()
    assert loudness.max() / loudness.min() > 2  # of steady noise, almost 1


def test_each_file_of_a_folder_is_a_corruption(tmp_path: Path):
    """Of another rate, in stereo, shorter than the sound, and mixed at the level that it says."""
    seconds = torch.arange(22050) / 44100
    hum = np.stack([np.sin(2 * np.pi * 100 * seconds.numpy())] * 2, axis=1)
    soundfile.write(tmp_path / "hum.wav", 0.3 * hum, 44100)
    (tmp_path / "notes.txt").write_text("no sound")
    found = sound.recordings(tmp_path)
    assert list(found) == ["hum.wav"]
    x, one = tone(440, 0.2), found["hum.wav"]
    noise = one.draw(x.shape[1:], torch.Generator().manual_seed(0))[None]
    assert noise.shape == x.shape
    assert torch.fft.rfft(noise[0]).abs().argmax().item() == 200  # 100 Hz in two seconds
    mixture = one.apply(x, one.levels[0], noise, torch.ones(1))
    assert decibels(mixture - x, x) == pytest.approx(-16, abs=1e-3)


def test_a_folder_without_sound_is_wrong_use_and_its_checksum_follows_its_contents(tmp_path: Path):
    with pytest.raises(UsageError, match=r"no \.wav or \.flac file"):
        sound.files(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    first = sound.checksum(tmp_path)
    assert first == sound.checksum(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.ones(100), 16000)
    assert sound.checksum(tmp_path) != first


# Sensors and skeletons.


def test_noise_comes_in_the_deviation_of_each_channel():
    drawn = torch.randn(50, 2, 200, generator=torch.Generator().manual_seed(0))
    found = signals.noisy(torch.zeros(50, 2, 200), torch.tensor([[1.0], [3.0]]), drawn)
    assert found.std(dim=(0, 2)).tolist() == pytest.approx([1, 3], rel=0.02)


def test_a_drift_grows_evenly_to_its_end():
    found = signals.drifting(torch.ones(1, 2, 5), torch.tensor([[[4.0], [-2.0]]]))
    assert found[0].tolist() == [[1, 2, 3, 4, 5], [1, 0.5, 0, -0.5, -1]]


@pytest.mark.parametrize(
    "place, wanted",
    [
        (0.0, [0, 0, 0, 0, 4, 5, 6, 7, 8, 9]),
        (0.5, [0, 1, 2, 3, 3, 3, 3, 7, 8, 9]),
        (0.999, [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]),
    ],
)
def test_a_lost_span_stays_at_what_was_measured_last(place, wanted):
    x = torch.arange(10.0).expand(1, 2, 10)
    found = signals.held(x, 0.3, torch.tensor([[place]]))
    assert found[0, 0].tolist() == wanted
    assert torch.equal(found[:, 0], found[:, 1])
    joints = signals.held(x[..., None].expand(1, 2, 10, 3), 0.3, torch.tensor([[place]]))
    assert torch.equal(joints[..., 2], found)


def test_jitter_reads_a_line_at_the_moments_of_its_steps():
    """Steps of 1, 2 and 1 (the draw ln 2), scaled to keep the ends of 0..3."""
    x = torch.arange(4.0).view(1, 1, 4)
    drawn = torch.tensor([[0.0, np.log(2.0), 0.0]])
    found = signals.jittered(10 * x, 1.0, drawn)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 7.5, 22.5, 30.0]))
    torch.testing.assert_close(signals.jittered(x, 0.0, drawn), x)


def test_a_quarter_turn_about_z_takes_x_to_y_in_every_triad():
    x = torch.tensor([1.0, 0, 0, 0, 2, 5]).view(1, 6, 1)
    found = signals.rotated(x, 90, torch.tensor([[0.0, 0.0, 7.0]]))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 1, 0, -2, 0, 5]))


def test_a_turn_keeps_lengths_and_angles_and_moves_gravity_by_its_angle():
    x = torch.randn(1, 6, 30, generator=torch.Generator().manual_seed(0))
    axis = torch.tensor([[1.0, -2.0, 0.5]])
    found = signals.rotated(x, 60, axis)
    triads, turned = x.view(2, 3, 30), found.view(2, 3, 30)
    torch.testing.assert_close(turned.norm(dim=1), triads.norm(dim=1))
    torch.testing.assert_close((turned[0] * turned[1]).sum(0), (triads[0] * triads[1]).sum(0))
    across = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1)  # at a right angle to the axis
    cosine = torch.cosine_similarity(signals.rotated(across, 60, axis), across, dim=1)
    assert cosine.item() == pytest.approx(0.5, abs=1e-6)


def test_a_skeleton_turns_about_the_vertical_to_either_side():
    joint = torch.tensor([1.0, 2.0, 0.0]).view(1, 3, 1, 1)
    left, right = (signals.turned(joint, 90, torch.tensor([[side]])) for side in (0.0, 0.9))
    torch.testing.assert_close(left.flatten(), torch.tensor([0.0, 2.0, -1.0]))
    torch.testing.assert_close(right.flatten(), torch.tensor([0.0, 2.0, 1.0]))


# Depth.


def test_holes_are_the_pixels_with_the_smallest_draws():
    x = torch.full((1, 1, 1, 2, 2), 3.0)
    drawn = torch.tensor([[0.1, 0.5], [0.19, 0.2]]).view(1, 1, 1, 2, 2)
    assert depth.holed(x, 0.2, drawn).flatten().tolist() == [0, 3, 0, 3]
    many = torch.rand(1, 1, 10, 50, 50, generator=torch.Generator().manual_seed(0))
    lost = depth.holed(torch.ones_like(many), 0.3, many) == 0
    assert lost.float().mean().item() == pytest.approx(0.3, abs=0.01)
