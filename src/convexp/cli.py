"""The `convexp` command."""

import difflib
import sys

COMMANDS = {
    "train": "learn an operator: convexp train model=deep target=edges_blur; convexp train --help shows all",
    "filter": "see an operator: convexp filter sobel photo.jpg edges.png; convexp filter --help shows more",
    "search": "look for the best values: convexp search model=deep target=edges_blur",
    "runs": "compare runs: convexp runs outputs --sort val/psnr --where model=deep",
    "inspect": "look inside a trained filter: convexp inspect outputs/edges_blur-deep/2026-11-22_09-30-00",
    "identify": "which filter was it: convexp identify before.png after.png",
    "apply": "filter images with what a run has learned: convexp apply RUN photos -o filtered",
    "evaluate": "measure a run on other images: convexp evaluate RUN --data photos",
    "export": "hand a filter to other software: convexp export RUN --to onnx",
}


def main() -> None:
    """Runs `convexp COMMAND …`."""
    try:
        _main()
    except KeyboardInterrupt:  # while something is imported; commands themselves say how to go on
        sys.exit(130)


def _main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command == "train":
        from convexp.runs import command as training

        # Lightning starts the further processes of trainer=ddp with this very command line.
        sys.argv = [training.__file__, *sys.argv[2:]]
        training.train()
    elif command == "filter":
        from convexp.runs.filter_command import filter_image

        filter_image(sys.argv[2:])
    elif command == "search":
        from convexp.runs.search_command import search

        search(sys.argv[2:])
    elif command == "runs":
        from convexp.runs.runs_command import list_runs

        list_runs(sys.argv[2:])
    elif command == "inspect":
        from convexp.analysis.command import inspect

        inspect(sys.argv[2:])
    elif command == "identify":
        from convexp.analysis.identify.command import identify_pair

        identify_pair(sys.argv[2:])
    elif command == "apply":
        from convexp.deploy.apply_command import apply_run

        apply_run(sys.argv[2:])
    elif command == "evaluate":
        from convexp.deploy.evaluate_command import evaluate_run

        evaluate_run(sys.argv[2:])
    elif command == "export":
        from convexp.deploy.export_command import export_run

        export_run(sys.argv[2:])
    elif command in ("-h", "--help"):
        print("usage: convexp COMMAND …\n")
        print("\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items()))
    else:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        sys.exit(f"convexp: {command}: no such command{suggestion}; there are {', '.join(COMMANDS)}")
