# fish completion for ec2ident
# Made by scripts/manual from the tables of the program. Change those, and run scripts/manual --write.

# The words of the line that are neither options nor values of options.
function __ec2ident_words
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word --level --timeout --certificate --region --kind --document --save
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether the line has these verbs, and perhaps arguments.
function __ec2ident_at
    set -l words (__ec2ident_words)
    set -l count (count $argv)
    set -l first $words[1..$count]
    test "$first" = "$argv"
end

# Whether the line has the verbs after the number, and that many arguments.
function __ec2ident_argument
    set -l words (__ec2ident_words)
    __ec2ident_at $argv[2..-1]; and test (count $words) = (math (count $argv) - 1 + $argv[1])
end

# Whether the line has these verbs and nothing else yet. `help` may stand before them.
function __ec2ident_next
    set -l words (__ec2ident_words)
    test "$words[1]" = help; and set -e words[1]
    test "$words" = "$argv"
end

complete -c ec2ident -f
complete -c ec2ident -s h -l help -d 'print the help; after a verb, that of the verb'
complete -c ec2ident -l version -d 'print the version'
complete -c ec2ident -n '__ec2ident_next' -l level -x -a 'hint claim document proof bound' -d 'how sure: hint, claim (default), document, proof, bound'
complete -c ec2ident -n '__ec2ident_next' -l timeout -x -d 'for the whole command (default 1)'
complete -c ec2ident -n '__ec2ident_next' -l no-network -d 'send no packet'
complete -c ec2ident -n '__ec2ident_next' -l explain -d 'print every fact too'
complete -c ec2ident -n '__ec2ident_next' -l json -d 'print the result for a program'
complete -c ec2ident -n '__ec2ident_next' -l certificate -r -F -d 'a certificate (PEM or DER) to trust in place of AWS\'s for one region and kind; more than one of them may be given'
complete -c ec2ident -n '__ec2ident_next' -l region -x -d 'the region that the certificate is for'
complete -c ec2ident -n '__ec2ident_next' -l kind -x -a 'rsa2048 pkcs7 signature' -d 'what the certificate is for: rsa2048, pkcs7, signature'
complete -c ec2ident -n '__ec2ident_next' -a show -d 'is this machine EC2? The default: its options may stand alone'
complete -c ec2ident -n '__ec2ident_at show' -l level -x -a 'hint claim document proof bound' -d 'how sure: hint, claim (default), document, proof, bound'
complete -c ec2ident -n '__ec2ident_at show' -l timeout -x -d 'for the whole command (default 1)'
complete -c ec2ident -n '__ec2ident_at show' -l no-network -d 'send no packet'
complete -c ec2ident -n '__ec2ident_at show' -l explain -d 'print every fact too'
complete -c ec2ident -n '__ec2ident_at show' -l json -d 'print the result for a program'
complete -c ec2ident -n '__ec2ident_at show' -l certificate -r -F -d 'a certificate (PEM or DER) to trust in place of AWS\'s for one region and kind; more than one of them may be given'
complete -c ec2ident -n '__ec2ident_at show' -l region -x -d 'the region that the certificate is for'
complete -c ec2ident -n '__ec2ident_at show' -l kind -x -a 'rsa2048 pkcs7 signature' -d 'what the certificate is for: rsa2048, pkcs7, signature'
complete -c ec2ident -n '__ec2ident_next' -a verify -d 'did AWS sign this document? Sends no packet'
complete -c ec2ident -n '__ec2ident_at verify' -l document -r -F -d 'the document that a signature belongs to'
complete -c ec2ident -n '__ec2ident_at verify' -l json -d 'print the result for a program'
complete -c ec2ident -n '__ec2ident_at verify' -l certificate -r -F -d 'a certificate (PEM or DER) to trust in place of AWS\'s for one region and kind; more than one of them may be given'
complete -c ec2ident -n '__ec2ident_at verify' -l region -x -d 'the region that the certificate is for'
complete -c ec2ident -n '__ec2ident_at verify' -l kind -x -a 'rsa2048 pkcs7 signature' -d 'what the files are, if unclear; beside --certificate, what it is for: rsa2048, pkcs7, signature'
complete -c ec2ident -n '__ec2ident_at verify' -F
complete -c ec2ident -n '__ec2ident_next' -a evidence -d 'save what another machine can verify'
complete -c ec2ident -n '__ec2ident_at evidence' -l save -x -a '(__fish_complete_directories)' -d 'the directory to write to'
complete -c ec2ident -n '__ec2ident_at evidence' -l timeout -x -d 'for the whole command (default 3)'
complete -c ec2ident -n '__ec2ident_at evidence' -l no-network -d 'send no packet'
complete -c ec2ident -n '__ec2ident_at evidence' -l certificate -r -F -d 'a certificate (PEM or DER) to trust in place of AWS\'s for one region and kind; more than one of them may be given'
complete -c ec2ident -n '__ec2ident_at evidence' -l region -x -d 'the region that the certificate is for'
complete -c ec2ident -n '__ec2ident_at evidence' -l kind -x -a 'rsa2048 pkcs7 signature' -d 'what the certificate is for: rsa2048, pkcs7, signature'
complete -c ec2ident -n '__ec2ident_next' -a region -d 'regions, their partitions and endpoints'
complete -c ec2ident -n '__ec2ident_at region' -l json -d 'print the result for a program'
complete -c ec2ident -n '__ec2ident_argument 0 region' -a 'aws af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 me-west-1 mx-central-1 sa-east-1 sa-west-1 us-east-1 us-east-2 us-west-1 us-west-2 aws-cn cn-north-1 cn-northwest-1 aws-eusc eusc-de-east-1 aws-iso us-iso-east-1 us-iso-west-1 aws-iso-b us-isob-east-1 us-isob-west-1 aws-iso-e eu-isoe-west-1 aws-iso-f us-isof-east-1 us-isof-south-1 aws-us-gov us-gov-east-1 us-gov-west-1'
complete -c ec2ident -n '__ec2ident_next' -a help -d 'the options of a verb'
