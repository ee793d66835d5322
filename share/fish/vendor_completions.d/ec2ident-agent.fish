# fish completion for ec2ident-agent
# Made by scripts/manual from the tables of the program. Change those, and run scripts/manual --write.

# The words of the line that are neither options nor values of options.
function __ec2ident_agent_words
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --config --state-dir --names-dir --wait --subnet --router --table --table-name --priority --scheme --source --vpc --route --mtu --advmss --overlay --device --label --via --root --rate --depth --program --manager
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether the line has these verbs, and perhaps arguments.
function __ec2ident_agent_at
    set -l words (__ec2ident_agent_words)
    set -l count (count $argv)
    set -l first $words[1..$count]
    test "$first" = "$argv"
end

# Whether the line has the verbs after the number, and that many arguments.
function __ec2ident_agent_argument
    set -l words (__ec2ident_agent_words)
    __ec2ident_agent_at $argv[2..-1]; and test (count $words) = (math (count $argv) - 1 + $argv[1])
end

# Whether the line has these verbs and nothing else yet. `help` may stand before them.
function __ec2ident_agent_next
    set -l words (__ec2ident_agent_words)
    test "$words[1]" = help; and set -e words[1]
    test "$words" = "$argv"
end

complete -c ec2ident-agent -f
complete -c ec2ident-agent -l config -r -F -d 'default /etc/ec2ident/agent.toml'
complete -c ec2ident-agent -l state-dir -x -a '(__fish_complete_directories)' -d 'the journal; default /run/ec2ident'
complete -c ec2ident-agent -l names-dir -x -a '(__fish_complete_directories)' -d 'table names; default /etc/iproute2/rt_tables.d'
complete -c ec2ident-agent -l wait -x -d 'for another ec2ident-agent and for metadata; default 10'
complete -c ec2ident-agent -s h -l help -d 'print the help; after a verb, that of the verb'
complete -c ec2ident-agent -l version -d 'print the version'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a plan -d 'print what apply would do, as ip commands'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l subnet -x -d 'subnet of the interface'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l router -x -d 'its router; default: the subnet\'s first address'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l table -x -d 'number of its routing table'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l table-name -x -d 'name of its routing table'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l priority -x -d 'priority of its policy rules'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l scheme -x -a 'by-source split' -d 'which traffic its rules select: by-source or split'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l source -x -d 'further source addresses for its rules'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l vpc -x -d 'address range of the VPC'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l route -x -d 'further route in its table: "10.50.0.0/16 via 10.0.1.1"'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l mtu -x -d 'MTU of its default route'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l advmss -x -d 'the same for the segment size that TCP announces'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l overlay -x -d 'hold this overlay address; needs --device'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l device -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that holds the overlay address'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l label -x -d 'label of the address; default: the next free one'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -l via -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that the address is routed to'
complete -c ec2ident-agent -n '__ec2ident_agent_at plan' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a apply -d 'make the node as configured'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l subnet -x -d 'subnet of the interface'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l router -x -d 'its router; default: the subnet\'s first address'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l table -x -d 'number of its routing table'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l table-name -x -d 'name of its routing table'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l priority -x -d 'priority of its policy rules'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l scheme -x -a 'by-source split' -d 'which traffic its rules select: by-source or split'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l source -x -d 'further source addresses for its rules'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l vpc -x -d 'address range of the VPC'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l route -x -d 'further route in its table: "10.50.0.0/16 via 10.0.1.1"'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l mtu -x -d 'MTU of its default route'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l advmss -x -d 'the same for the segment size that TCP announces'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l overlay -x -d 'hold this overlay address; needs --device'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l device -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that holds the overlay address'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l label -x -d 'label of the address; default: the next free one'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -l via -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that the address is routed to'
complete -c ec2ident-agent -n '__ec2ident_agent_at apply' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a adopt -d 'apply, and take over what equals it, in place'
complete -c ec2ident-agent -n '__ec2ident_agent_at adopt' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at adopt' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at adopt' -l root -x -a '(__fish_complete_directories)' -d 'the node\'s file system; default /'
complete -c ec2ident-agent -n '__ec2ident_agent_at adopt' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a status -d 'compare the node with the configuration'
complete -c ec2ident-agent -n '__ec2ident_agent_at status' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at status' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a revert -d 'remove what the agent added'
complete -c ec2ident-agent -n '__ec2ident_agent_at revert' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at revert' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at revert' -l all -d 'everything that the agent added'
complete -c ec2ident-agent -n '__ec2ident_agent_at revert' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a overlay -d 'hold an overlay address, or release it'
complete -c ec2ident-agent -n '__ec2ident_agent_at overlay' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at overlay' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at overlay' -l device -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that holds the overlay address'
complete -c ec2ident-agent -n '__ec2ident_agent_at overlay' -l label -x -d 'label of the address; default: the next free one'
complete -c ec2ident-agent -n '__ec2ident_agent_at overlay' -l via -x -a '(command ls /sys/class/net 2>/dev/null)' -d 'the interface that the address is routed to'
complete -c ec2ident-agent -n '__ec2ident_agent_argument 0 overlay' -a 'add del'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a watch -d 'repair what other programs delete, until SIGTERM'
complete -c ec2ident-agent -n '__ec2ident_agent_at watch' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a doctor -d 'say which program deletes what the agent adds'
complete -c ec2ident-agent -n '__ec2ident_agent_at doctor' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at doctor' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at doctor' -l fix -d 'write the settings that prevent the deletions'
complete -c ec2ident-agent -n '__ec2ident_agent_at doctor' -l unfix -d 'remove the settings that --fix wrote'
complete -c ec2ident-agent -n '__ec2ident_agent_at doctor' -l root -x -a '(__fish_complete_directories)' -d 'the node\'s file system; default /'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a warm -d 'read whole volumes that were made from snapshots'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -l json -d 'print the result for a program'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -l rate -x -d 'at most this many MiB a second, over all volumes'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -l depth -x -d 'reads of each volume at the same time; default 32'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -l restart -d 'read from the beginning, whatever was read before'
complete -c ec2ident-agent -n '__ec2ident_agent_at warm' -F
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a hook -d 'what the hooks of network managers call'
complete -c ec2ident-agent -n '__ec2ident_agent_argument 0 hook' -a 'ifupdown networkmanager networkd-dispatcher sysconfig network-scripts udev dhclient'
complete -c ec2ident-agent -n '__ec2ident_agent_argument 1 hook' -a '(command ls /sys/class/net 2>/dev/null)'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a install -d 'write hooks, units and a sample configuration'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l check -d 'only name what is not of this version; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l root -x -a '(__fish_complete_directories)' -d 'the node\'s file system; default /'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l program -r -F -d 'the program that hooks and units call'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l manager -x -a 'ifupdown networkmanager networkd-dispatcher sysconfig wicked network-scripts dhclient systemd udev networkd ocf' -d 'also the hooks of this network manager'
complete -c ec2ident-agent -n '__ec2ident_agent_at install' -l ocf -d 'also the resource agents for Pacemaker'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a uninstall -d 'remove exactly what install wrote'
complete -c ec2ident-agent -n '__ec2ident_agent_at uninstall' -l dry-run -d 'only print what would be changed; exit code 1 if anything'
complete -c ec2ident-agent -n '__ec2ident_agent_at uninstall' -l root -x -a '(__fish_complete_directories)' -d 'the node\'s file system; default /'
complete -c ec2ident-agent -n '__ec2ident_agent_next' -a help -d 'the options of a verb'
