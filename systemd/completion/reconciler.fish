# Completion of `reconciler` in fish: the command itself says what can be typed next.
function __reconciler_complete --argument-names action
    set --local --export _RECONCILER_COMPLETE complete_fish
    set --local --export _TYPER_COMPLETE_FISH_ACTION $action
    set --local --export _TYPER_COMPLETE_ARGS (commandline --cut-at-cursor --current-process)
    reconciler
end
complete --command reconciler --no-files --arguments '(__reconciler_complete get-args)' \
    --condition '__reconciler_complete is-args'
