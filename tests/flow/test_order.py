"""Order: outputs are sent in the order in which their inputs were taken, whoever finishes first."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pipeline.flow.order import Order


def run_threads(order: Order[int, int], inputs: Iterator[int], num_threads: int, *, slow: threading.Event) -> list[int]:
    """Squares of the inputs as they were sent; the square of 0 is not ready before `slow` is set."""
    sent: list[int] = []

    def take() -> int:
        try:
            return next(inputs)
        except StopIteration:
            raise EOFError from None

    def square(number: int) -> int:
        if number == 0:
            assert slow.wait(10)
        elif number == 3:
            slow.set()
        return number * number

    def run() -> None:
        try:
            while True:
                order.turn(take, square, sent.append)
        except EOFError:
            pass

    threads = [threading.Thread(target=run) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent


def test_outputs_wait_for_a_slow_one_before_them() -> None:
    sent = run_threads(Order(limit=8), iter(range(50)), 4, slow=threading.Event())
    assert sent == [number * number for number in range(50)]


def test_an_abandoned_order_lets_no_thread_wait() -> None:
    order: Order[int, int] = Order(limit=1)
    order.abandon()
    sent: list[int] = []

    def take_another_first(number: int) -> int:
        order.turn(lambda: 2, lambda other: other, sent.append)  # one more than the limit
        return number

    order.turn(lambda: 1, take_another_first, sent.append)
    assert sent == [1, 2]
