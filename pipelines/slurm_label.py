"""Label sessions on a SLURM cluster: workers as jobs of the queue, through dask-jobqueue.

    pip install 'bige-opensim[slurm]'
    python pipelines/slurm_label.py sessions --out labels --jobs 20 --cores 16 --memory 48GB --walltime 04:00:00 \
        -- --solver fast

Run it where jobs can be submitted, with sessions, labels and this environment on a file system that all nodes see. The
arguments after `--` go to `bige label`. When the script ends, so do its jobs; started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bige_opensim.cli import app


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line of this script; `label` holds what goes to `bige label`."""
    parser = argparse.ArgumentParser(description="Label OpenCap sessions on a SLURM cluster.")
    parser.add_argument("sessions", nargs="+", type=Path, help="OpenCap session folders, or folders of them")
    parser.add_argument("--out", required=True, type=Path, help="folder for the labels")
    parser.add_argument("--jobs", type=int, default=4, help="SLURM jobs to submit")
    parser.add_argument("--cores", type=int, default=8, help="cores of a job: trials it labels at once")
    parser.add_argument("--memory", default="16GB", help="memory of a job; a trial takes 1 to 1.5 GB")
    parser.add_argument("--walltime", default="02:00:00", help="longest time of a job; its trials go to others then")
    parser.add_argument("--partition", help="SLURM partition")
    parser.add_argument("--account", help="SLURM account")
    parser.add_argument("--logs", type=Path, default=Path("slurm_logs"), help="folder for the jobs' output")
    own, label = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parsed = parser.parse_args(own)
    parsed.label = label
    return parsed


def label_command(asked: argparse.Namespace, scheduler: str) -> list[str]:
    """Words of `bige label` for the sessions, on the workers of a scheduler."""
    sessions = [str(path.absolute()) for path in asked.sessions]
    return ["label", *sessions, "--out", str(asked.out.absolute()), "--scheduler", scheduler, *asked.label]


def main() -> int:
    """Submit the jobs and label; the exit status is that of `bige label`."""
    from dask_jobqueue import SLURMCluster

    asked = arguments(sys.argv[1:])
    with SLURMCluster(
        queue=asked.partition,
        account=asked.account,
        cores=asked.cores,
        processes=1,
        memory=asked.memory,
        walltime=asked.walltime,
        log_directory=str(asked.logs),
        # trials run in processes of their own, which dask does not count
        worker_extra_args=["--memory-limit", "0"],
    ) as cluster:
        cluster.scale(jobs=asked.jobs)
        return app(label_command(asked, cluster.scheduler_address), result_action="return_value") or 0


if __name__ == "__main__":
    sys.exit(main())
