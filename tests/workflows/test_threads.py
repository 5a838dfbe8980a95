"""Torch's threads are put back."""

import pytest
import torch

from bige_opensim.workflows.threads import one_thread


def test_threads_are_put_back_after_work_and_after_errors():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
