#!/usr/bin/env python3
"""Checks every README: runs its commands as printed, in order, and stops at the first that fails.

    scripts/check_readmes.py [PAGE ...]     default: README.md, then the README.md of every folder
    scripts/check_readmes.py --list         shows the commands and runs nothing

Needs what scripts/quickstart.sh and scripts/test.sh leave behind, and Python's standard library only. What it looks at:

  ```sh           a block that is run with bash from the repository's root. Exported variables live on within the page.
  ```sh long      a block that is only shown: it takes more than a minute, downloads something, or changes the machine.
  ```cpp FILE     (or json) an excerpt. It must be in FILE; spaces do not count, a line "// ..." stands for what is left out.
  [text](place)   a link into the repository. The file and the heading must exist.

The front page and the other pages also have limits of length (LIMITS). Exit code 0: all is well; 1: something is not.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECONDS = 300  # for one block; a block that takes a minute on a quiet machine is long
LIMITS = {"README.md": {"lines": 150, "columns": 120, "words": 1200}}
LIMITS_ELSEWHERE = {"lines": 200}


class Problem(Exception):
    pass


def blocks(text):
    """(line, info string, content) of every fenced code block."""
    found, start, info, content = [], 0, None, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if not fence:
            content.append(line)
        elif info is None:
            start, info, content = number, fence[1].strip(), []
        else:
            found.append((start, info, "\n".join(content)))
            info = None
    return found


def check_length(page, text):
    lines = text.splitlines()
    sizes = {"lines": len(lines), "columns": max(map(len, lines)), "words": len(text.split())}
    for what, most in LIMITS.get(page, LIMITS_ELSEWHERE).items():
        if sizes[what] > most:
            raise Problem(f"{page}: {sizes[what]} {what}, at most {most} are allowed")


def headings(text):
    """The anchors of a page's headings, as GitHub makes them."""
    without_code = re.sub(r"```.*?```", "", text, flags=re.S)
    titles = re.findall(r"^#+ (.*)$", without_code, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(page, text):
    folder = (ROOT / page).parent
    for place in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if re.match(r"[a-z]+:", place):
            continue
        file, _, anchor = place.partition("#")
        target = folder / file if file else ROOT / page
        if not target.exists():
            raise Problem(f"{page}: the link {place} leads nowhere")
        if anchor and anchor not in headings(target.read_text(encoding="utf-8")):
            raise Problem(f"{page}: the link {place} names a heading that is not there")


def check_excerpt(place, file, content):
    squeeze = lambda code: re.sub(r"\s", "", code)
    if not (ROOT / file).is_file():
        raise Problem(f"{place}: the excerpt's file {file} does not exist")
    rest = squeeze((ROOT / file).read_text(encoding="utf-8"))
    for part in re.split(r"^\s*// \.\.\.$", content, flags=re.M):
        before, found, rest = rest.partition(squeeze(part))
        if not found:
            raise Problem(f"{place}: this is not in {file}, or no longer in this order:\n{part.strip()}")


def run(place, content, environment):
    """Runs a block. What it exports is in the file `environment` afterwards, for the next block."""
    script = f'[ ! -s "{environment}" ] || source "{environment}"\n{content}\nexport -p > "{environment}"\n'
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(["bash", "-eo", "pipefail", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(SECONDS)
            reason = f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            code, reason = None, f"did not end within {SECONDS} s; mark the block ```sh long if that is right"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # also what it started
            except ProcessLookupError:
                pass
            process.wait()
        if code != 0:
            output.seek(0)
            last = output.read().decode(errors="replace").splitlines()[-20:]
            raise Problem("\n".join([f"{place}: this block {reason}:", content, "its last output:", *last]))


def check_page(page, list_only):
    text = (ROOT / page).read_text(encoding="utf-8")
    check_length(page, text)
    check_links(page, text)
    ran = 0
    with tempfile.TemporaryDirectory() as folder:
        for line, info, content in blocks(text):
            place = f"{page}:{line}"
            language, _, rest = info.partition(" ")
            if language == "sh" and rest not in ("", "long"):
                raise Problem(f"{place}: expected ```sh or ```sh long, found ```{info}")
            if language in ("cpp", "json") and rest:
                check_excerpt(place, rest, content)
            if language == "sh" and list_only:
                print(f"# {place}{' (long: not run)' if rest else ''}\n{content}\n")
            elif info == "sh":
                begin = time.monotonic()
                run(place, content, os.path.join(folder, "environment"))
                print(f"{time.monotonic() - begin:5.1f} s  {place}", flush=True)
                ran += 1
    return ran


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="show the commands and run nothing")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="from the repository's root")
    arguments = parser.parse_args()
    known = subprocess.run(["git", "ls-files", "--", "README.md", "*/README.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = arguments.pages or sorted(known.stdout.split(), key=lambda page: ("/" in page, page))
    try:
        ran = sum(check_page(page, arguments.list) for page in pages)
    except Problem as problem:
        sys.exit(f"error: {problem}")
    print(f"{len(pages)} pages are right, {ran} blocks of commands ran")


if __name__ == "__main__":
    main()
