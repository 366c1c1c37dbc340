"""Tells in which language texts are and how hard the English ones are to read, with two algorithms of a platform.

    python reader.py http://127.0.0.1:8000 letter.txt notes.txt

The first time it shows a page and a code, and goes on when somebody has approved it there. Where nobody is, it takes
a token from FAKTS_REDEEM_TOKEN.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import constellation

MANIFEST = {
    "identifier": "org.constellation.examples.reader",
    "version": "1.0",
    "description": "Tells the language of texts and how hard they are to read.",
    "scopes": ["openid", "offline_access", "algo:call"],
}


def main() -> int:
    """Returns the exit status: 0 if every text could be read."""
    options = _options()
    try:
        with constellation.connect_sync(options.url, MANIFEST, open_browser=options.browser) as platform:
            if options.logout:
                platform.logout()
                return 0
            return _read(platform, options.owner, options.texts)
    except constellation.ConnectFailed as error:
        print(f"reader: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _read(platform: constellation.SyncApp, owner: str, files: list[Path]) -> int:
    language = platform.algo(f"{owner}/language")
    readability = platform.algo(f"{owner}/readability")
    failed = 0
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
            spoken = language.pipe(text).result["language"]
            line = spoken
            if spoken == "en":
                scores = readability.pipe(text).result
                line = f"{spoken}, {scores['difficulty']}, {scores['words']} words"
        except (OSError, ValueError, constellation.CallFailed) as error:
            failed += 1
            line = f"cannot be read: {error}"
        print(f"{file}: {line}")
    return min(failed, 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tell the language of texts, and how hard they are to read.")
    parser.add_argument("url", help="address of the platform")
    parser.add_argument("texts", nargs="*", type=Path, metavar="TEXT", help="a text file")
    parser.add_argument("--owner", default="admin", help="whose algorithms `language` and `readability` to call")
    parser.add_argument("--browser", action="store_true", help="open the page of the approval in a browser")
    parser.add_argument("--logout", action="store_true", help="end the login")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
