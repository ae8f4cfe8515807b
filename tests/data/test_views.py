"""Sets as networks see them: what does not fit is refused by name, and nothing depends
on threads."""

import numpy as np
import pytest
import torch

from ahsar_eval.data import Events, EventSet, ImageSet, View, shifted, split_of
from ahsar_eval.errors import DataError


def recordings(*times_us: list[int], sensor: tuple[int, int] = (4, 4)) -> EventSet:
    """One recording for each list of times, all its events at one pixel."""

    def one(t: list[int]) -> Events:
        zero = np.zeros(len(t))
        return Events(
            np.array(t, dtype=np.int64),
            zero.astype(np.int32),
            zero.astype(np.int32),
            zero.astype(np.uint8),
            *sensor,
        )

    labels = np.zeros(len(times_us), dtype=np.int64)
    return EventSet(
        "made",
        "all",
        labels,
        (),
        "made",
        "made",
        lambda indices: [one(times_us[i]) for i in indices],
        (2, *sensor),
    )


def test_an_image_network_takes_no_events_and_the_reverse():
    with pytest.raises(
        DataError,
        match=r"made holds event recordings \(2 polarities\) and the network takes 3 channels",
    ):
        split_of(recordings([0]), View((3, 4, 4), 2))
    with pytest.raises(
        DataError, match="which become frames only for a known number of time steps"
    ):
        split_of(recordings([0]), (2, 4, 4))


def test_shifts_of_the_other_kind_are_refused():
    with pytest.raises(
        DataError,
        match="fog is no shift of event recordings, which made holds; known are background",
    ):
        split_of(recordings([0]), View((2, 4, 4), 2), "fog", 3)
    images = ImageSet(
        "pixels",
        "all",
        np.zeros(1, dtype=np.int64),
        (),
        "p",
        "p",
        lambda indices: [torch.zeros(3, 8, 8)],
        (3, 8, 8),
    )
    with pytest.raises(
        DataError,
        match="event_drop is no shift of images, which pixels holds; known are gauss",
    ):
        split_of(images, (3, 8, 8), "event_drop", 3)
    with pytest.raises(
        DataError, match="images of 1x8 are too small for fog; expected sides of at least 2"
    ):
        split_of(images, (3, 1, 8), "fog", 3)

    for severity in (0, 6):
        with pytest.raises(DataError, match=f"severity {severity} of fog is none; expected 1 to 5"):
            split_of(images, (3, 8, 8), "fog", severity)
        with pytest.raises(DataError, match=f"severity {severity} of event_drop is none"):
            split_of(recordings([0]), View((2, 4, 4), 2), "event_drop", severity)


def test_a_recording_that_cannot_be_framed_is_named():
    split = split_of(recordings([1], [5_000, 6_000]), View((2, 4, 4), 2, "1000us@0"))
    with pytest.raises(
        DataError,
        match="sample 1 of made: a recording's events, from 5000 to 6000 us, all lie outside",
    ):
        split.tensors(np.array([0, 1]))


@pytest.mark.parametrize("sensor", [(4, 4), (60_000, 60_000)])
def test_frames_that_no_memory_holds_are_refused(sensor):
    view = View((2, 4, 4), 2) if sensor[0] > 4 else View((2, 20_000, 20_000), 2)
    with pytest.raises(
        DataError,
        match=r"of one recording of made \(sensor .*\) take too much memory; use fewer or smaller",
    ):
        split_of(recordings([0], sensor=sensor), view)


def test_noise_of_a_recording_of_a_million_years_is_refused():
    split = split_of(recordings([0, 2**57]), View((2, 4, 4), 2), "background_activity", 5)
    with pytest.raises(
        DataError,
        match=(
            r"sample 0 of made: the recording is so long that noise would add .* are its time "
            r"stamps damaged"
        ),
    ):
        split.tensors(np.array([0]))


def test_frames_have_time_first_and_shifted_frames_differ():
    source = recordings([0, 1, 2, 3], [0, 5, 6, 7], [0, 1, 2, 3, 4, 5])
    plain = split_of(source, View((2, 4, 4), 2)).tensors(np.array([1, 0, 2]))
    assert plain.shape == (2, 3, 2, 4, 4)
    assert plain[:, :, 0, 0, 0].tolist() == [[2, 2, 3], [2, 2, 3]]
    dropped = split_of(source, View((2, 4, 4), 2), "event_drop", 5).tensors(np.array([0, 1, 2]))
    assert dropped.shape == plain.shape
    assert dropped.sum() < plain.sum()


@pytest.mark.parametrize("shift", ["contrast", "fog", "gaussian_blur"])
def test_large_images_do_not_depend_on_the_batch_with_two_threads(shift):
    images = torch.rand(5, 1, 200, 200, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(2)
    whole = shifted(images, shift, 3, 0, np.arange(5))
    for n in range(5):
        assert torch.equal(shifted(images[n : n + 1], shift, 3, 0, np.array([n]))[0], whole[n])
