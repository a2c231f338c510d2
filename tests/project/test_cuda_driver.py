"""CUDA driver: a decoder, ONNX Runtime and recordings share a GPU through it, and its absence is survived."""

from __future__ import annotations

import pytest

from pipeline.cuda_driver import (
    cuda_driver,
    let_waits_sleep,
    primary_context,
    tolerate_capture,
)
from tests.support.cuda_driver import Driver


def test_the_primary_context_is_current_inside_kept_for_good_and_let_go_of_after_an_error() -> None:
    driver = Driver()
    with primary_context(driver):
        assert driver.calls == [("flags", 4), ("retain", 0), ("push", 42)]  # flags first: to retain it opens it
    with pytest.raises(KeyError), primary_context(driver):
        raise KeyError
    assert driver.calls[2:] == [("push", 42), ("pop", None), ("push", 42), ("pop", None)]


def test_without_a_gpu_nothing_is_pushed_and_nothing_breaks() -> None:
    driver = Driver(status=100)
    with primary_context(driver):
        let_waits_sleep(driver)
    assert driver.calls == []


def test_libav_takes_a_context_that_nobody_opened_before_but_not_one_with_other_flags() -> None:
    with primary_context(Driver()) as is_taken:
        assert is_taken
    torch_was_first = Driver(state=(0, 1))
    with primary_context(torch_was_first) as is_taken:
        assert not is_taken


def test_waits_sleep_and_recordings_are_tolerated() -> None:
    driver = Driver()
    let_waits_sleep(driver)
    tolerate_capture(driver)
    assert driver.calls == [("flags", 4), ("capture mode", 2)]  # as cuda.h numbers them


@pytest.mark.skipif(cuda_driver() is not None, reason="this machine has an NVIDIA driver")
def test_without_a_driver_everything_is_left_out() -> None:
    let_waits_sleep()
    tolerate_capture()
    with primary_context():
        pass
