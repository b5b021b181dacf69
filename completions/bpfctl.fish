# fish completion for bpfctl, as printed by "bpfctl completion fish".

function _bpfctl_completion
    set -l line (commandline -cp | string collect)
    set -l program (commandline -cpo | string match -rv '^\w+=')[1]
    set program (string replace -r '^~' $HOME -- $program)
    for item in (env COMP_WORDS=$line COMP_CWORD= \
            _BPFCTL_COMPLETE=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , -- $item)
        # The shell's own paths are those behind the option of a word --option=path.
        set -l option (string match -r -- '^-[^=]*=' $parts[2])
        set -l path (string replace -r -- '^-[^=]*=' '' $parts[2])
        switch $parts[1]
            case plain part
                printf '%s\n' $parts[2]
            case file
                printf "$option%s\n" (__fish_complete_path $path)
            case dir
                printf "$option%s\n" (__fish_complete_directories $path)
        end
    end
end

complete --no-files --keep-order --command bpfctl --arguments '(_bpfctl_completion)'
