#!/bin/sh
# Print the region of this instance: the client of the metadata service, in a language without ec2ident.
set -eu
service=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
ask="curl --fail --silent --show-error --noproxy * --max-time 20"
set -f # the star is curl's
token=$($ask -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$service/latest/api/token")
$ask -H "X-aws-ec2-metadata-token: $token" "$service/latest/meta-data/placement/region"
