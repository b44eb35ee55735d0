# Completion of `reconciler` in bash: the command itself says what can be typed next.
_reconciler() {
    local IFS=$'\n'
    mapfile -t COMPREPLY < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _RECONCILER_COMPLETE=complete_bash "$1")
}
complete -o default -F _reconciler reconciler
