"""Runs the benchmarks, each subject in a separate process, and prints one table.

python benchmarks/run.py [SUBJECT ...] [--json FILE] [--rounds N] [--smoke]
python benchmarks/run.py --list
python benchmarks/run.py --compare BEFORE.json AFTER.json
python benchmarks/run.py --markdown RESULTS.json
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
from pathlib import Path

from comparison import compare
from doc_tables import doc_tables
from machine import machine
from results import Result, header, load_goals, read, row, write

FOLDER = Path(__file__).parent
ON_DEMAND = ("rllib",)  # needs an environment of its own


def list_subjects(subjects: list[str]) -> None:
    """Prints the subjects, each with the first line of its docstring."""
    for subject in subjects:
        doc = ast.get_docstring(ast.parse((FOLDER / f"{subject}.py").read_text(encoding="utf-8"))) or ""
        print(f"{subject:22s} {doc.splitlines()[0]}")


def run_subject(subject: str, options: list[str]) -> list[Result] | None:
    """Returns the results of a subject, or None if it failed.

    In a separate process, no threads of libraries that other subjects have loaded are awake.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        command = [sys.executable, str(FOLDER / f"{subject}.py"), "--json", str(file), *options]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        return read(file)[1]


def main() -> int:
    """Runs the command line and returns the exit status: 1 if a subject failed. Missed goals are not failures."""
    subjects = list(load_goals())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"all by default but {', '.join(ON_DEMAND)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds of each case")
    parser.add_argument("--only", metavar="TEXT", help="only the cases whose name contains TEXT")
    parser.add_argument("--smoke", action="store_true", help="run every case briefly, to check that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    parser.add_argument("--list", action="store_true", help="list the subjects")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="compare two result files")
    parser.add_argument("--markdown", type=Path, metavar="RESULTS", help="print a result file as Markdown")
    args = parser.parse_args()
    unknown = [subject for subject in args.subjects if subject not in subjects]
    if unknown:
        parser.error(f"unknown subject: {', '.join(unknown)}; there are {', '.join(subjects)}")
    if args.list:
        list_subjects(subjects)
        return 0
    if args.compare:
        compare(*args.compare)
        return 0
    if args.markdown:
        print(doc_tables(args.markdown), end="")
        return 0

    options = ["--smoke"] if args.smoke else []
    for name in ("rounds", "only"):
        if getattr(args, name) is not None:
            options += [f"--{name}", str(getattr(args, name))]
    results: list[Result] = []
    failed: list[str] = []
    for subject in args.subjects or [subject for subject in subjects if subject not in ON_DEMAND]:
        subject_results = run_subject(subject, options)
        print(flush=True)
        if subject_results is None:
            failed.append(subject)
        else:
            results += subject_results

    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items() if value is not None))
    if args.smoke:
        print("This is a smoke run: its numbers mean nothing.")
    print_table(results)
    if args.json:
        write(args.json, about, results)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def print_table(results: list[Result]) -> None:
    """Prints every case below the name of its subject, and how many goals were met."""
    print(header())
    for subject in dict.fromkeys(result.subject for result in results):
        print(f"-- {subject}")
        for result in results:
            if result.subject == subject:
                print(row(result))
    goals = sum(len(result.goals) for result in results)
    print(f"{goals - sum(len(result.missed) for result in results)} of {goals} goals met")


if __name__ == "__main__":
    sys.exit(main())
