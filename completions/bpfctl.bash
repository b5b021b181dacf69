# bash completion for bpfctl, as printed by "bpfctl completion bash".

_bpfctl_completion() {
    local IFS=$'\n' item
    COMPREPLY=()
    for item in $(set -f; env COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" COMP_CWORD= \
        _BPFCTL_COMPLETE=bash_complete "${1/#\~/$HOME}" 2>/dev/null); do
        case $item in
            plain,*) COMPREPLY+=("${item#*,}") ;;
            part,*)
                COMPREPLY+=("${item#*,}")
                compopt -o nospace 2>/dev/null
                ;;
            file,*) compopt -o default 2>/dev/null ;;
            dir,*) compopt -o dirnames 2>/dev/null ;;
        esac
    done
}

# Versions before 4.4 sort whatever they get.
complete -o nosort -F _bpfctl_completion bpfctl 2>/dev/null ||
    complete -F _bpfctl_completion bpfctl
