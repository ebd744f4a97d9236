# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# bash completion for cachectl. The program itself knows what can follow.

_cachectl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} line words=()

	COMPREPLY=()
	while IFS= read -r line; do
		case $line in
		:path) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur") ;;
		:dir) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$cur") ;;
		:device)
			while IFS= read -r line; do
				[[ -b $line || -d $line ]] && COMPREPLY+=("$line")
			done < <(compgen -f -- "${cur:-/dev/}")
			;;
		*) [[ $line == "$cur"* ]] && words+=("$line") ;;
		esac
	done < <(cachectl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
	if [[ ${#COMPREPLY[@]} -gt 0 ]]; then
		compopt -o filenames
	fi
	COMPREPLY+=("${words[@]}")
}

complete -F _cachectl cachectl
