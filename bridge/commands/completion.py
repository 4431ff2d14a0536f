"""Print a completion script for bash or zsh, made from the commands' own parsers.

Never asks anything at completion time: the script is a table of words, so that TAB stays quick on a small machine.
"""

from __future__ import annotations

import argparse
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

from bridge.commands import command, command_names, parser_of
from bridge.config import Settings, flag_names
from bridge.errors import EXIT_OK
from bridge.settings import SETTINGS
from bridge.values import OneOf, yes_no

HELP = "print the completion script for bash or zsh"
FILES = ("FILE", "DIR", "PATH", "DEVICE")  # metavars behind which a path is wanted
PATH_FLAGS = ("--config", "--serial", "--modbus-serial", "--loads-file", "--run-state-dir", "--mqtt-ca",
              "--sigen-mqtt-ca", "--sigen-mqtt-cert", "--sigen-mqtt-key")


class Place(NamedTuple):
    """What may be typed after a verb, or after a verb within a verb.

    ``values`` are the words that a flag takes, ``paths`` the flags that take a path, ``plain`` those that take
    anything else; ``path`` says that a word of its own may be a path.
    """

    words: Tuple[str, ...]
    flags: Tuple[str, ...]
    values: Tuple[Tuple[str, Tuple[str, ...]], ...]
    paths: Tuple[str, ...]
    plain: Tuple[str, ...]
    path: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that will read it")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the script."""
    print({"bash": bash, "zsh": zsh}[args.shell]())
    return EXIT_OK


def places() -> Dict[str, Place]:
    """Return every place by the verbs that lead to it: "" is the begin, then "dump", "cloud flow", ..."""
    names = command_names()
    found: Dict[str, Place] = {"": Place(tuple(names), ("--help", "--version"), (), (), (), False)}
    for name in names:
        module = command(name)
        if module is not None:
            found.update(_places(name, parser_of(name, module)))
    found["help"] = found["help"]._replace(words=tuple(names))
    found.update({f"help {name}": Place(found[name].words, (), (), (), (), False) for name in names if name != "help"})
    if "explain" in found:
        found["explain"] = found["explain"]._replace(words=explained())
    return found


def explained() -> Tuple[str, ...]:
    """Return the words that ``explain`` knows and that need no quotes; registers are too many."""
    from bridge.commands.explain import findings, load_texts
    from bridge.peers.explanations import all_entries

    entries = (*all_entries(load_texts()), *findings())
    return tuple(dict.fromkeys(entry.words[0] for entry in entries if re.fullmatch(r"[\w/-]+", entry.words[0])))


def _places(name: str, parser: argparse.ArgumentParser) -> Iterator[Tuple[str, Place]]:
    words: List[str] = []
    flags: List[str] = []
    values: List[Tuple[str, Tuple[str, ...]]] = []
    paths: List[str] = []
    plain: List[str] = []
    path = False
    for action in parser._actions:  # argparse has no public way to look at what was declared
        choices = tuple(map(str, action.choices or ()))
        wants_path = str(action.metavar or "").split("[")[0] in FILES
        if isinstance(action, argparse._SubParsersAction):
            for inner, its in action.choices.items():
                yield from _places(f"{name} {inner}", its)
        if not action.option_strings:
            words += choices
            path = path or wants_path
            continue
        flags += action.option_strings
        if action.nargs == 0:
            continue
        for flag in action.option_strings:
            if choices:
                values.append((flag, choices))
            else:
                (paths if wants_path else plain).append(flag)
    yield name, Place(tuple(words), tuple(flags), tuple(values), tuple(paths), tuple(plain), path)


def setting_flags() -> Tuple[List[str], List[str]]:
    """Return the flags of the settings: those that take a path, and the others."""
    everyone = ["--config", *flag_names()]
    paths = [flag for flag in everyone if flag.endswith("-file") or flag in PATH_FLAGS]
    return paths, [flag for flag in everyone if flag not in paths]


def setting_words() -> Dict[Tuple[str, ...], List[str]]:
    """Return the flags of the settings that take one of a few words, by these words."""
    found: Dict[Tuple[str, ...], List[str]] = {}
    for row in SETTINGS:
        words = ("yes", "no") if row.parse is yes_no else row.parse.choices if isinstance(row.parse, OneOf) else ()
        if words and not row.secret:
            flags = ["--" + row.key.replace(".", "-").replace("_", "-"), *([row.flag] if row.flag else [])]
            found.setdefault(words, []).extend(flags)
    return found


def _cases(found: Dict[str, Place], indent: str) -> List[str]:
    """Return the lines of a case statement that fills offer, flags, files and kind; both shells understand them."""
    lines = []
    for name, place in found.items():
        values = [f"{flag}) kind='{' '.join(choices)}' ;;" for flag, choices in place.values]
        for flags, kind in ((place.paths, "@path"), (place.plain, "@any")):
            if flags:
                values.append(f"{'|'.join(flags)}) kind={kind} ;;")
        lines.append(f"{indent}'{name}')")
        lines.append(f"{indent}  offer='{' '.join(place.words)}' flags='{' '.join(place.flags)}'"
                     f" files={int(place.path)}")
        if values:
            lines.append(f"{indent}  case \"$prev\" in {' '.join(values)} esac")
        lines.append(f"{indent}  ;;")
    return lines


def _walk(found: Dict[str, Place], each: str) -> List[str]:
    """Return the lines that find the place: verbs are words that are known where they stand."""
    paths, plain = setting_flags()
    worded = setting_words()
    known = "|".join(f"'{name}'" for name in found if name)
    takes = sorted({flag for place in found.values() for flag in (*place.paths, *place.plain)}
                   | {flag for place in found.values() for flag, _ in place.values})
    return [
        "  local place='' word='' skip=0 kind='' offer='' flags='' files=0",
        f"  {each}",
        "    if [ $skip = 1 ]; then skip=0; continue; fi",
        "    case \"$word\" in",
        f"      {'|'.join(dict.fromkeys([*paths, *plain, *takes]))}) skip=1 ;;",
        "      -*) ;;",
        "      *) case \"${place:+$place }$word\" in",
        f"           {known}) place=\"${{place:+$place }}$word\" ;;",
        "         esac ;;",
        "    esac",
        "  done",
        "  case \"$prev\" in",
        f"    {'|'.join(paths)}) kind=@path ;;",
        *(f"    {'|'.join(flags)}) kind='{' '.join(words)}' ;;" for words, flags in worded.items()),
        f"    {'|'.join(flag for flag in plain if not any(flag in flags for flags in worded.values()))}) kind=@any ;;",
        "  esac",
        "  case \"$place\" in",
        *_cases(found, "    "),
        "  esac",
        f"  local settings='{' '.join([*paths, *plain])}'",
    ]


def bash() -> str:
    """Return the script for bash."""
    found = places()
    return "\n".join([
        "# bash completion for sigen-bridge; made by: sigen-bridge completion bash",
        "_sigen_bridge() {",
        "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" i",
        "  # bash splits --flag=value into three words",
        "  if [ \"$cur\" = '=' ]; then cur=''; elif [ \"$prev\" = '=' ]; then prev=\"${COMP_WORDS[COMP_CWORD-2]}\"; fi",
        *_walk(found, "for ((i = 1; i < COMP_CWORD; i++)); do word=\"${COMP_WORDS[i]}\""),
        "  COMPREPLY=()",
        "  case \"$kind\" in",
        "    @path) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames 2>/dev/null; return ;;",
        "    @any) return ;;",
        "    ?*) mapfile -t COMPREPLY < <(compgen -W \"$kind\" -- \"$cur\"); return ;;",
        "  esac",
        "  case \"$cur\" in",
        "    -*) mapfile -t COMPREPLY < <(compgen -W \"$flags $settings\" -- \"$cur\") ;;",
        "    *) mapfile -t COMPREPLY < <(compgen -W \"$offer\" -- \"$cur\")",
        "       if [ $files = 1 ]; then",
        "         local -a near; mapfile -t near < <(compgen -f -- \"$cur\"); COMPREPLY+=(\"${near[@]}\")",
        "         compopt -o filenames 2>/dev/null",
        "       fi ;;",
        "  esac",
        "}",
        "complete -F _sigen_bridge sigen-bridge",
    ])


def zsh() -> str:
    """Return the script for zsh: to be found in fpath as _sigen-bridge, or to be sourced after compinit."""
    found = places()
    return "\n".join([
        "#compdef sigen-bridge",
        "# zsh completion for sigen-bridge; made by: sigen-bridge completion zsh",
        "_sigen-bridge() {",
        "  local prev=\"${words[CURRENT-1]}\"",
        "  local -a typed; typed=(\"${(@)words[2,CURRENT-1]}\")",
        *_walk(found, "for word in \"${typed[@]}\"; do"),
        "  case \"$kind\" in",
        "    @path) _files; return ;;",
        "    @any) _message 'a value'; return ;;",
        "    ?*) compadd -- ${=kind}; return ;;",
        "  esac",
        "  if [[ \"$PREFIX\" = -* ]]; then",
        "    compadd -- ${=flags} ${=settings}",
        "  else",
        "    compadd -- ${=offer}",
        "    [ $files = 1 ] && _files",
        "  fi",
        "  return 0",
        "}",
        "if [ \"$funcstack[1]\" = '_sigen-bridge' ]; then _sigen-bridge \"$@\"",
        "else compdef _sigen-bridge sigen-bridge; fi",
    ])
