"""Peer: moves bytes and does nothing else, the floor under any service of this kind in Python."""

from __future__ import annotations

from tests.benchmarks.peers import loop


def main() -> None:
    parser = loop.arguments(__doc__)
    parser.add_argument("--result-bytes", type=int, required=True)
    options = parser.parse_args()
    result = b'{"result":"' + b"x" * (options.result_bytes - 13) + b'"}'
    loop.run(options, lambda _: result)


if __name__ == "__main__":
    main()
