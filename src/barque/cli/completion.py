"""``completion``: scripts that complete commands, options and names, made from the registry.

Names of containers, images, volumes and networks are asked of the engine when they are
needed, through this same program.
"""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.registry import COMMANDS, GROUPS, HIDDEN, find_command, names_of

PROGRAM = "barque"

# What lists the names of a kind of object, a line each.
_NAMES = {
    "container": "container ls -a --format '{{.Names}}'",
    "image": "image ls --format '{{.Repository}}:{{.Tag}}'",
    "network": "network ls --format '{{.Name}}'",
    "volume": "volume ls -q",
}
_GLOBAL = ("--config", "--context", "--debug", "--host", "--help", "--version")


class _Entry:
    """A command as completion needs it: all names, options, what its arguments name."""

    def __init__(self, path: str) -> None:
        command = find_command(path)
        self.names = names_of(path)
        self.summary = COMMANDS[path][2]
        self.flags: list[Flag] = [flag for flag in command.flags if not flag.hidden]
        self.kinds = argument_kinds(path, command.usage)


def argument_kinds(path: str, usage: str) -> list[str]:
    """Kinds of objects that the arguments of a usage line may name."""
    if path == "inspect":
        return list(_NAMES)
    kinds = {"IMAGE": "image", "CONTAINER": "container", "VOLUME": "volume", "NETWORK": "network"}
    found: list[str] = []
    for word in usage.partition("\n")[0].replace("[", " ").replace("]", " ").split():
        name = word.rstrip(".").removeprefix("SOURCE_").removeprefix("TARGET_").partition(":")[0]
        kind = kinds.get(name)
        if kind and kind not in found:
            found.append(kind)
    if path.endswith(" create") and not path.startswith("container "):
        return []  # the name of what does not exist yet
    return found


def _entries() -> list[_Entry]:
    return [_Entry(path) for path in COMMANDS if path not in HIDDEN]


def _first_words(entries: list[_Entry]) -> dict[str, str]:
    """What may stand first: groups, and commands of one word, each with its summary."""
    words = dict(GROUPS)
    for entry in entries:
        words |= {name: entry.summary for name in entry.names if " " not in name}
    return words


def _second_words(entries: list[_Entry], group: str) -> dict[str, str]:
    return {
        name.partition(" ")[2]: entry.summary
        for entry in entries
        for name in entry.names[:1]
        if name.startswith(f"{group} ")
    }


def _options(entry: _Entry) -> list[str]:
    options = [f"--{flag.name}" for flag in entry.flags]
    return [*options, *(f"-{flag.short}" for flag in entry.flags if flag.short), "--help"]


def _with_value(entries: list[_Entry]) -> list[str]:
    """Options that take the next word, wherever they do."""
    found = {"--config", "--context", "-c", "--host", "-H"}
    for entry in entries:
        for flag in entry.flags:
            if flag.kind != "bool":
                found.add(f"--{flag.name}")
    return sorted(found)


def _shell_functions(entries: list[_Entry]) -> str:
    """Shell functions of tables; bash and zsh read the same."""
    second = "".join(
        f'    "{group}") echo "{" ".join(_second_words(entries, group))}" ;;\n' for group in GROUPS
    )
    options = "".join(
        f'    {"|".join(_quoted(entry.names))}) echo "{" ".join(_options(entry))}" ;;\n'
        for entry in entries
    )
    kinds = "".join(
        f'    {"|".join(_quoted(entry.names))}) echo "{" ".join(entry.kinds)}" ;;\n'
        for entry in entries
        if entry.kinds
    )
    names = "".join(
        f"    {kind}) {PROGRAM} {command} 2>/dev/null ;;\n" for kind, command in _NAMES.items()
    )
    return (
        f'_{PROGRAM}_second() {{\n  case "$1" in\n{second}  esac\n}}\n\n'
        f'_{PROGRAM}_options() {{\n  case "$1" in\n{options}'
        f'    *) echo "{" ".join(_GLOBAL)}" ;;\n  esac\n}}\n\n'
        f'_{PROGRAM}_kinds() {{\n  case "$1" in\n{kinds}  esac\n}}\n\n'
        f'_{PROGRAM}_names() {{\n  case "$1" in\n{names}  esac\n}}\n\n'
        f'_{PROGRAM}_takes_value() {{\n  case "$1" in\n'
        f"    {'|'.join(_with_value(entries))}) return 0 ;;\n  esac\n  return 1\n}}\n\n"
    )


def _quoted(names: list[str]) -> list[str]:
    return [f'"{name}"' for name in names]


# Finds the command among the words before the cursor, then what may stand at it: a
# subcommand, an option, or names of objects.
_CANDIDATES = """\
_barque_candidates() {
  local current="$1" previous="$2" word command="" skip=0
  shift 2
  for word in "$@"; do
    if [ "$skip" = 1 ]; then skip=0; continue; fi
    case "$word" in
      --*=*) ;;
      -*) if _barque_takes_value "$word"; then skip=1; fi ;;
      *)
        if [ -z "$command" ]; then command="$word"
        elif [ -n "$(_barque_second "$command")" ]; then command="$command $word"
        fi ;;
    esac
  done
  if [ -n "$previous" ] && _barque_takes_value "$previous"; then return; fi
  case "$current" in
    -*) _barque_options "$command"; return ;;
  esac
  if [ -z "$command" ]; then echo "FIRST_WORDS"; return; fi
  case "$command" in
    *" "*) ;;
    *)
      local second
      second="$(_barque_second "$command")"
      if [ -n "$second" ]; then echo "$second"; return; fi ;;
  esac
  local kind
  for kind in KINDS; do
    case " $(_barque_kinds "$command") " in
      *" $kind "*) _barque_names "$kind" ;;
    esac
  done
}
"""


def _candidates(entries: list[_Entry]) -> str:
    text = _CANDIDATES.replace("FIRST_WORDS", " ".join(_first_words(entries)))
    return text.replace("KINDS", " ".join(_NAMES)).replace("_barque_", f"_{PROGRAM}_")


def bash() -> str:
    """The script for bash, whose words are split at colons: they are put together again."""
    entries = _entries()
    return (
        f"# bash completion for {PROGRAM}: source <({PROGRAM} completion bash)\n"
        + _shell_functions(entries)
        + _candidates(entries)
        + """
_barque() {
  local current previous words cword
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : current previous words cword 2>/dev/null
    current="${words[cword]}" previous="${words[cword-1]}"
  else
    words=("${COMP_WORDS[@]}") cword="$COMP_CWORD"
    current="${words[cword]}" previous="${words[cword-1]}"
  fi
  [ "$cword" -le 1 ] && previous=""
  COMPREPLY=($(compgen -W "$(_barque_candidates "$current" "$previous" \\
    "${words[@]:1:cword-1}")" -- "$current"))
  if declare -F __ltrim_colon_completions >/dev/null; then
    __ltrim_colon_completions "$current"
  fi
}

complete -o default -F _barque barque
""".replace("barque", PROGRAM)
    )


def zsh() -> str:
    """The script for zsh."""
    entries = _entries()
    return (
        f"#compdef {PROGRAM}\n# zsh completion for {PROGRAM}: "
        f"source <({PROGRAM} completion zsh)\n"
        + _shell_functions(entries)
        + _candidates(entries)
        + """
_barque() {
  local current="${words[CURRENT]}" previous=""
  (( CURRENT > 2 )) && previous="${words[CURRENT-1]}"
  local -a found
  found=(${=$(_barque_candidates "$current" "$previous" "${(@)words[2,CURRENT-1]}")})
  if (( ${#found} )); then
    compadd -- "${found[@]}"
  else
    _files
  fi
}

if [ "$funcstack[1]" = "_barque" ]; then
  _barque "$@"
else
  compdef _barque barque
fi
""".replace("barque", PROGRAM)
    )


def fish() -> str:
    """The script for fish; descriptions show beside the words."""
    entries = _entries()
    lines = [
        f"# fish completion for {PROGRAM}: {PROGRAM} completion fish | source",
        f"function __{PROGRAM}_at",
        "    # Whether the command line so far is this command (words without options).",
        "    set -l words (string match -v -- '-*' (commandline -opc))",
        '    test "$words[2..]" = "$argv"; or string match -q -- "$argv *" "$words[2..]"',
        "end",
        f"function __{PROGRAM}_exactly",
        "    set -l words (string match -v -- '-*' (commandline -opc))",
        '    test "$words[2..]" = "$argv"',
        "end",
        f"complete -c {PROGRAM} -f",
    ]
    start = f"complete -c {PROGRAM}"
    lines += [
        f"{start} -n '__{PROGRAM}_exactly' -a {word} -d {_single(summary)}"
        for word, summary in _first_words(entries).items()
    ]
    for group in GROUPS:
        lines += [
            f"{start} -n '__{PROGRAM}_exactly {group}' -a {word} -d {_single(summary)}"
            for word, summary in _second_words(entries, group).items()
        ]
    for entry in entries:
        for name in entry.names:
            at = f"{start} -n '__{PROGRAM}_at {name}'"
            for flag in entry.flags:
                short = f" -s {flag.short}" if flag.short else ""
                value = "" if flag.kind == "bool" else " -r"
                lines.append(f"{at}{short} -l {flag.name}{value} -d {_single(flag.usage)}")
            for kind in entry.kinds:
                words = f"({PROGRAM} {_NAMES[kind]} 2>/dev/null)"
                lines.append(f'{at} -a "{words}" -d {kind}')
    return "\n".join(lines) + "\n"


def _single(text: str) -> str:
    """Text in fish's single quotes."""
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


_SHELLS = {"bash": bash, "fish": fish, "zsh": zsh}


def _completion(call: Invocation) -> int:
    shell = call.args[0]
    if shell not in _SHELLS:
        raise CommandError(
            f"there is no completion for {shell}: choose one of {', '.join(_SHELLS)}"
        )
    sys.stdout.write(_SHELLS[shell]())
    return 0


COMPLETION = Command(
    "bash|zsh|fish",
    _completion,
    minimum=1,
    maximum=1,
    description=(
        "Generate the autocompletion script for the specified shell, for example: "
        "source <(barque completion bash)"
    ),
)
