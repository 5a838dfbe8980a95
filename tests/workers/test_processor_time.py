"""Processor time counts what is done elsewhere too."""

import subprocess
import sys
import time

from bige_opensim.workers.processor_time import processor_seconds

BUSY = "import time\nwhile time.process_time() < 0.4: pass\n{then}"


def test_work_counts_wherever_it_is_done_and_sleep_does_not():
    began = processor_seconds()
    time.sleep(0.2)
    assert processor_seconds() - began < 0.15
    while processor_seconds() - began < 0.2:
        pass
    subprocess.run([sys.executable, "-c", BUSY.format(then="")], check=True)
    ended = processor_seconds() - began
    assert ended > 0.55, "a process that has ended"
    code = BUSY.format(then="print('done', flush=True); input()")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout.readline() == b"done\n"
        assert processor_seconds() - began > ended + 0.35, "a process that lives"
        living.stdin.close()
