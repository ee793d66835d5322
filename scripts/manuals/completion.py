"""Completion for bash, zsh and fish. Pure.

Names that come from the node (interfaces, services of failover.toml) are compared as text and never evaluated: `compgen
-W` would expand them, and an interface may be named `$(reboot)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import commands

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE = "Made by scripts/manual from the tables of the program. Change those, and run scripts/manual --write."
#: What the word for a value or an argument stands for, where the tables do not name the values.
KINDS = {
    "FILE": "file", "DEVICE|FILE": "file", "PATH": "file", "DIR": "directory",
    "IF": "interface", "INTERFACE": "interface", "SERVICE": "service",
}  # fmt: skip
#: Prints the services of failover.toml, for all three shells.
SERVICES = "sed -n 's/^\\[service\\.\\([A-Za-z0-9_-]*\\)[].].*/\\1/p' {} 2>/dev/null | sort -u"
_SPACE = "\\ "
CONFIG = "/etc/ec2ident/failover.toml"


def files() -> dict[str, str]:
    """Path below share/ to text."""
    found = {}
    for program in commands.programs():
        found[f"bash-completion/completions/{program.name}"] = bash(program)
        found[f"zsh/site-functions/_{program.name}"] = zsh(program)
        found[f"fish/vendor_completions.d/{program.name}.fish"] = fish(program)
    return found


def every(program: commands.Program) -> Iterator[commands.Verb]:
    """Every verb and every group of verbs, each under all of its names."""

    def walk(verbs: tuple[commands.Verb, ...]) -> Iterator[commands.Verb]:
        for verb in verbs:
            for name in (verb.words[-1], *verb.aliases):
                yield verb._replace(words=(*verb.words[:-1], name))
            yield from walk(verb.verbs)

    return walk(program.verbs)


def kind(word: str, choices: tuple[str, ...], program: str) -> str:
    """What a value is: `words a|b c|d`, one of KINDS, or `any`."""
    if choices:
        return f"words {'|'.join(choices)}"
    # Only failover has services in a file; those of `ec2ident region` are of AWS.
    found = KINDS.get(word, "any")
    return "any" if found == "service" and program != "ec2ident-failover" else found


def values(program: commands.Program) -> dict[str, str]:
    """The kind of the value of each option that has one. Raises ValueError where two verbs do not agree."""
    flags, found = set(), {}
    for option in [*program.common, *(each for verb in every(program) for each in verb.options)]:
        for name in option.names:
            if not option.metavar:
                flags.add(name)
            elif found.setdefault(name, kind(option.metavar, option.choices, program.name)) != kind(
                option.metavar, option.choices, program.name
            ):
                raise ValueError(f"{program.name}: {name} has two kinds of value")
    if both := flags & {*found}:
        raise ValueError(f"{program.name}: {both} with and without a value")
    return found


def names(options: tuple[commands.Option, ...]) -> str:
    """Every name of the options, with spaces between."""
    return " ".join(name for option in options for name in option.names)


# -- bash -------------------------------------------------------------------------------------------------------------


def bash(program: commands.Program) -> str:
    """For bash 4 and later."""
    verbs = {"": program.verbs, **{" ".join(verb.words): verb.verbs for verb in every(program)}}
    below = {
        path: [name for verb in found for name in (verb.words[-1], *verb.aliases)] for path, found in verbs.items()
    }
    below[""].append("help")
    options = {"": names(program.plain)}
    taken = {}
    for verb in every(program):
        path = " ".join(verb.words)
        options[path] = names(verb.options)
        for number, argument in enumerate(verb.arguments):
            at = f"{path},*" if argument.repeated else f"{path},{number}"
            taken[at] = kind(argument.word, argument.choices, program.name)
    taken["hook,1"] = "interface" if program.name == "ec2ident-agent" else "any"
    function = "_" + program.name.replace("-", "_")
    return _BASH.substitute(
        program=program.name,
        made=MADE,
        function=function,
        verbs=_cases({path: " ".join(found) for path, found in below.items() if found}),
        options=_cases({path: found for path, found in options.items() if found}),
        common=names(program.common).replace(" ", "|"),
        values=_cases(values(program), keep="any"),
        arguments=_cases(taken, exact=False),
        services=SERVICES.format(f'"${{EC2IDENT_FAILOVER_CONFIG:-{CONFIG}}}"'),
    )


def _cases(table: dict[str, str], keep: str = "", exact: bool = True) -> str:
    """The branches of a `case`; those with the same result together. A repeated argument comes last."""
    grouped: dict[str, list[str]] = {}
    for key, value in table.items():
        if value != "any" or keep:
            head, star, _ = key.partition("*")
            grouped.setdefault(value, []).append(f"'{key}'" if exact or not star else f"'{head}'*")
    order = sorted(grouped.items(), key=lambda row: any(key.endswith("*") for key in row[1]))
    lines = []
    for value, found in order:
        lines.append(f"{' | '.join(found)}) printf '%s' '{value}' ;;")
    return "\n    ".join(lines)


class _Template:
    """Text with @NAMES@: shells use the sign of string.Template too often."""

    def __init__(self, text: str) -> None:
        self.text = text

    def substitute(self, **words: str) -> str:
        found = self.text
        for name, value in words.items():
            found = found.replace(f"@{name}@", value)
        return found


_BASH = _Template(r"""# bash completion for @program@
# @made@

@function@_verbs() {
    case $1 in
    @verbs@
    esac
}

@function@_options() {
    case $1 in
    @options@
    esac
}

# What the value of an option is; nothing for an option without a value.
@function@_value() {
    case $1 in
    @values@
    esac
}

# What the argument number $2 of the verb $1 is.
@function@_argument() {
    case $1,$2 in
    @arguments@
    esac
}

@function@_services() {
    @services@
}

# Add those of the words of standard input that begin with $1, as text: they are never evaluated.
@function@_add() {
    local word
    while IFS= read -r word; do
        [[ -n $word && $word == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$word")")
    done
}

# Add what fits to $2, which is of the kind $1.
@function@_complete() {
    case $1 in
    'words '*) @function@_add "$2" <<<"$(printf '%s' "${1#words }" | tr '|' '\n')" ;;
    interface) @function@_add "$2" < <(command ls /sys/class/net 2>/dev/null) ;;
    service) @function@_add "$2" < <(@function@_services) ;;
    file)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
        ;;
    directory)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$2")
        ;;
    esac
}

@function@() {
    local current=${COMP_WORDS[COMP_CWORD]} word verb='' value='' number=0 at next
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        # readline splits --option=value at the sign.
        [[ $word == = ]] && continue
        if [[ -n $value && $word != --* ]]; then
            value=''
            continue
        fi
        value=''
        if [[ $word == -* ]]; then
            [[ $word == *=* ]] || value=$(@function@_value "$word")
            continue
        fi
        [[ $word == help && -z $verb && $number -eq 0 ]] && continue
        next=${verb:+$verb }$word
        if [[ $number -eq 0 && " $(@function@_verbs "$verb") " == *" $word "* ]]; then
            verb=$next
        else
            number=$((number + 1))
        fi
    done
    [[ $current == = ]] && current=''
    if [[ -n $value && $current != -* ]]; then
        @function@_complete "$value" "$current"
    elif [[ $current == -* ]]; then
        @function@_complete "words $(@function@_options "$verb" | tr ' ' '|')|@common@" "$current"
    elif [[ $number -eq 0 && -n $(@function@_verbs "$verb") ]]; then
        @function@_complete "words $(@function@_verbs "$verb" | tr ' ' '|')" "$current"
    else
        @function@_complete "$(@function@_argument "$verb" "$number")" "$current"
    fi
}

complete -F @function@ @program@
""")


# -- zsh --------------------------------------------------------------------------------------------------------------


def zsh(program: commands.Program) -> str:
    """For compsys: a file of fpath."""
    function = "_" + program.name
    lines = [f"#compdef {program.name}", f"# {MADE}", ""]
    if program.name == "ec2ident-failover":
        services = SERVICES.format(f'"${{EC2IDENT_FAILOVER_CONFIG:-{CONFIG}}}"')
        lines += [
            f"{function}_services() {{",
            "  local -a services",
            f'  services=(${{(f)"$({services})"}})',
            "  compadd -a services",
            "}",
            "",
        ]
    help_ = commands.Verb(("help",), "", "the options of a verb", arguments=())
    lines += [f"{function}() {{", "  local curcontext=$curcontext state line", "  typeset -A opt_args"]
    lines += _zsh_level(program, (*program.verbs, help_), (*program.plain, *program.common), 1)
    return "\n".join([*lines, "}", "", f'{function} "$@"', ""])


def _zsh_level(
    program: commands.Program, verbs: tuple[commands.Verb, ...], options: tuple[commands.Option, ...], depth: int
) -> list[str]:
    """Complete one verb, and then what comes after it."""
    pad = "  " * depth
    lines = [f"{pad}_arguments -C \\", *(f"{pad}  {each} \\" for each in _zsh_options(program, options))]
    lines += [f"{pad}  '1:verb:->verb' '*::argument:->argument'"]
    lines += [f"{pad}case $state in", f"{pad}verb)", f"{pad}  local -a verbs", f"{pad}  verbs=("]
    for verb in verbs:
        for name in (verb.words[-1], *verb.aliases):
            lines.append(f"{pad}    {_quoted(f'{name}:{_zsh_plain(verb.summary)}')}")
    lines += [f"{pad}  )", f"{pad}  _describe verb verbs ;;", f"{pad}argument)", f"{pad}  case $line[1] in"]
    for verb in verbs:
        lines += [f"{pad}  {'|'.join((verb.words[-1], *verb.aliases))})"]
        if verb.verbs:
            lines += _zsh_level(program, verb.verbs, program.common, depth + 2)
        else:
            specs = [*_zsh_options(program, (*verb.options, *program.common)), *_zsh_arguments(program, verb)]
            lines += [f"{pad}    _arguments \\", *(f"{pad}      {each} \\" for each in specs)]
            lines[-1] = lines[-1][:-2]
        lines += [f"{pad}    ;;"]
    return [*lines, f"{pad}  esac ;;", f"{pad}esac"]


def _zsh_options(program: commands.Program, options: tuple[commands.Option, ...]) -> list[str]:
    found = []
    for option in options:
        value = ""
        if option.metavar:
            action = _zsh_value(program, option.metavar, option.choices)
            value = f"{':' if option.loose else ''}:{_zsh_plain(option.metavar)}:{action}"
        for name in option.names:
            star = "*" if option.repeated else ""
            equals = "=" if option.metavar and name.startswith("--") else ""
            found.append(_quoted(f"{star}{name}{equals}[{_zsh_plain(option.text)}]{value}"))
    return [*dict.fromkeys(found)]


def _zsh_arguments(program: commands.Program, verb: commands.Verb) -> list[str]:
    if verb.words == ("help",):
        return [_quoted(f"*:verb:({' '.join(each.words[0] for each in program.verbs)})")]
    return [
        _quoted(
            f"{'*' if argument.repeated else number}:{_zsh_plain(argument.word)}:"
            f"{_zsh_value(program, argument.word, argument.choices)}"
        )
        for number, argument in enumerate(verb.arguments, 1)
    ]


def _zsh_value(program: commands.Program, word: str, choices: tuple[str, ...]) -> str:
    found = kind(word, choices, program.name)
    if found.startswith("words "):
        return f"({found[6:].replace(' ', _SPACE).replace('|', ' ')})"
    actions = {"file": "_files", "directory": "_files -/", "interface": "_net_interfaces"}
    return actions.get(found, f"_{program.name}_services" if found == "service" else "")


def _zsh_plain(text: str) -> str:
    """Text without what means something in a specification."""
    found = text.replace("\\", "\\\\")
    for letter in ":[]":
        found = found.replace(letter, f"\\{letter}")
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# -- fish -------------------------------------------------------------------------------------------------------------


def fish(program: commands.Program) -> str:
    """For fish 3 and later."""
    function = "__" + program.name.replace("-", "_")
    valued = " ".join(name for name in values(program))
    text = _FISH.substitute(program=program.name, made=MADE, function=function, valued=valued)
    if program.name == "ec2ident-failover":
        text += _FISH_SERVICES.substitute(function=function)
    lines = [text]

    def add(condition: str, rest: str) -> None:
        lines.append(f"complete -c {program.name} -n '{function}_{condition}' {rest}")

    # -f: without a word for the value there are no files either.
    lines.append(f"complete -c {program.name} -f")
    for option in program.common:
        lines.append(f"complete -c {program.name} {_fish_option(program, option)}")
    for option in program.plain:
        add("next", _fish_option(program, option))
    for verb in (*every(program), commands.Verb(("help",), "", "the options of a verb")):
        above = " ".join(("next", *verb.words[:-1]))
        add(above, f"-a {verb.words[-1]} -d {_fish_quoted(verb.summary)}")
        path = " ".join(("at", *verb.words))
        for option in verb.options:
            add(path, _fish_option(program, option))
        for number, argument in enumerate(verb.arguments):
            found = kind(argument.word, argument.choices, program.name)
            where = path if argument.repeated else " ".join(("argument", str(number), *verb.words))
            if found == "file":
                add(where, "-F")
            elif found != "any":
                add(where, f"-a {_fish_value(function, found)}")
    return "\n".join([*dict.fromkeys(lines), ""])


def _fish_option(program: commands.Program, option: commands.Option) -> str:
    spelt = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    function = "__" + program.name.replace("-", "_")
    value = ""
    if option.metavar:
        found = kind(option.metavar, option.choices, program.name)
        # -x: a value is needed, and files are none.
        value = "" if option.loose else " -r -F" if found == "file" else " -x"
        value += "" if found in ("any", "file") else f" -a {_fish_value(function, found)}"
    return f"{spelt}{value} -d {_fish_quoted(option.text)}"


def _fish_value(function: str, found: str) -> str:
    if found.startswith("words "):
        return "'" + found[6:].replace(" ", _SPACE).replace("|", " ") + "'"
    return {
        "directory": "'(__fish_complete_directories)'",
        "interface": "'(command ls /sys/class/net 2>/dev/null)'",
        "service": f"'({function}_services)'",
    }[found]


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_FISH = _Template(r"""# fish completion for @program@
# @made@

# The words of the line that are neither options nor values of options.
function @function@_words
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word @valued@
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether the line has these verbs, and perhaps arguments.
function @function@_at
    set -l words (@function@_words)
    set -l count (count $argv)
    set -l first $words[1..$count]
    test "$first" = "$argv"
end

# Whether the line has the verbs after the number, and that many arguments.
function @function@_argument
    set -l words (@function@_words)
    @function@_at $argv[2..-1]; and test (count $words) = (math (count $argv) - 1 + $argv[1])
end

# Whether the line has these verbs and nothing else yet. `help` may stand before them.
function @function@_next
    set -l words (@function@_words)
    test "$words[1]" = help; and set -e words[1]
    test "$words" = "$argv"
end
""")

_FISH_SERVICES = _Template(rf"""
function @function@_services
    set -q EC2IDENT_FAILOVER_CONFIG; and set -l file $EC2IDENT_FAILOVER_CONFIG; or set -l file {CONFIG}
    {SERVICES.format("$file")}
end
""")
