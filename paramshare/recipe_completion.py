"""Complete the options of a recipe in a user's file: a shell reads them from the text of the file, and runs no Python.

The fields of the class `Options` within the recipe's class are options of `train`, `study` and `check`.
"""

from typing import Final, Literal

__all__ = ["with_recipe_options"]

_COMMANDS: Final = "train study check sweep"

_AWK: Final = r"""
    { quotes = gsub(/\"\"\"|\047\047\047/, "&") }
    text { if (quotes % 2) text = 0; next }
    quotes % 2 { text = 1 }
    /^class / { split($2, head, /[(:]/); chosen = wanted == "" || head[1] == wanted; options = 0 }
    chosen && /^[ \t]+class[ \t]+Options/ { options = 1; field = 0; match($0, /[^ \t]/); outer = RSTART; next }
    options && /[^ \t]/ && !/^[ \t]*#/ {
      match($0, /[^ \t]/)
      if (RSTART <= outer) { options = 0; next }
      if (!field) field = RSTART
      if (RSTART == field && $0 ~ /^[ \t]+[a-z][A-Za-z0-9_]*[ \t]*:/) {
        name = $1; sub(/:.*/, "", name); gsub(/_/, "-", name)
        print "--" name
        if ($0 ~ /:[ \t]*bool/) print "--no-" name
      }
    }
"""
"Print the options of the recipe `wanted`, or of every recipe of a file without that variable."

_BASH: Final = f"""
_paramshare_recipe_options() {{
  local i word file wanted
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}} wanted=
    file=${{word%%:*}}
    file=${{file/#\\~/$HOME}}
    [[ $file == *.py && -f $file ]] || continue
    [[ $word == *:* ]] && wanted=${{word#*:}}
    [[ ${{COMP_WORDS[i + 1]}} == : ]] && wanted=${{COMP_WORDS[i + 2]}}  # bash cuts words at colons
    awk -v wanted="$wanted" '{_AWK}' "$file" 2> /dev/null
  done
}}

_paramshare_with_recipe() {{
  _shtab_paramshare "$@"
  local command=${{COMP_WORDS[1]}} word=${{COMP_WORDS[COMP_CWORD]}}
  [[ $command == flow ]] && command=${{COMP_WORDS[2]}}
  [[ $word == -* && " {_COMMANDS} " == *" $command "* ]] || return 0
  COMPREPLY+=($(compgen -W "$(_paramshare_recipe_options)" -- "$word"))
  return 0
}}
"""

_ZSH: Final = f"""
_paramshare_recipe_options() {{
  local word file wanted
  for word in "$@"; do
    wanted= file=${{word%%:*}}
    file=${{file/#\\~/$HOME}}
    [[ $file == *.py && -f $file ]] || continue
    [[ $word == *:* ]] && wanted=${{word#*:}}
    awk -v wanted="$wanted" '{_AWK}' "$file" 2> /dev/null
  done
}}

_paramshare_with_recipe() {{
  local command=$words[2] result=1
  [[ $command == flow ]] && command=$words[3]
  if [[ $PREFIX == -* && " {_COMMANDS} " == *" $command "* ]]; then
    local -a own
    own=(${{(f)"$(_paramshare_recipe_options "${{(@)words[2,CURRENT-1]}}")"}})
    (( $#own )) && compadd -- $own && result=0
  fi
  _shtab_paramshare "$@" && result=0
  return result
}}
"""

_FISH: Final = f"""
function _paramshare_recipe_options
  string match -q -- '-*' (commandline -ct); or return
  for word in (commandline -opc)[2..-1]
    set -l parts (string split -m1 : -- $word)
    set -l file (string replace -r '^~' $HOME -- $parts[1])
    if string match -q -- '*.py' $file; and test -f $file
      awk -v wanted="$parts[2]" '{_AWK.replace(chr(92), chr(92) * 2)}' $file 2> /dev/null
    end
  end
end

complete -c paramshare -n '__fish_seen_subcommand_from {_COMMANDS}' -f -a '(_paramshare_recipe_options)'
"""


def with_recipe_options(script: str, shell: Literal["bash", "zsh", "fish"]) -> str:
    """Return a script of `shtab` that also completes the options of the recipe in a file that the command line names.

    Args:
        script: the script for the program `paramshare`.
        shell: the shell.
    """
    if shell == "fish":
        return script + _FISH
    head, definition, tail = script.rpartition({"bash": "\ncomplete ", "zsh": "\ntypeset -A opt_args\n"}[shell])
    own = {"bash": _BASH, "zsh": _ZSH}[shell]
    return f"{head}{own}{definition}{tail.replace('_shtab_paramshare', '_paramshare_with_recipe')}"
