"""Writes what a campaign came to into docs/PROOF.md, between its marks; the words around them are a person's."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from scripts.simulate_campaign import Campaign
from tests.simulation.moments import MOMENTS

BEGIN = "<!-- simulation: written by scripts/simulate --nightly -->"
END = "<!-- end of simulation -->"


def write_proof(file: Path, campaign: Campaign) -> None:
    """Replace the section of the simulations."""
    write_section(file, BEGIN, END, section(campaign))


def write_section(file: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks, whatever was there. Raises ValueError where the marks are not."""
    before, found, rest = file.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{file} has no section from {begin} to {end}")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def section(campaign: Campaign) -> str:
    """What was run, when, of which commit, and what it reached."""
    commit = _git("rev-parse", "--short", "HEAD") + (", with local changes" if _git("status", "--porcelain") else "")
    lines = [
        "",
        f"Run on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}, in {campaign.wall_seconds / 60:.0f} minutes "
        f"({campaign.cpu_seconds / 60:.0f} CPU minutes).",
        "",
        f"**{campaign.crash_runs:,} runs with crashes** of {campaign.runs:,} in all; keepers vanished "
        f"{campaign.crashes:,} times at {campaign.points:,} points that were passed; {len(campaign.failures)} promises "
        "were broken.",
        "",
        "| runs | what |",
        "| ---: | --- |",
        *(f"| {number:,} | {kind} |" for kind, number in campaign.kinds.most_common()),
        "",
        "Moments, each with the number of runs that reached it:",
        "",
        "| runs | moment |",
        "| ---: | --- |",
        *(f"| {campaign.reached[moment]:,} | {moment} |" for moment in MOMENTS),
        "",
    ]
    return "\n".join(lines)


def _git(*words: str) -> str:
    root = Path(__file__).resolve().parent.parent
    found = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
    return found.stdout.strip() or ("unknown" if words[0] == "rev-parse" else "")
