"""Which host serves which service: AWS's endpoint rules as templates. Written by scripts/check-partitions; not by hand.

The source is a table of partitions and one rule set for each service, as AWS ships them in botocore. A template is a
host name with `{region}`, `{suffix}` and `{dual}` (the two DNS suffixes of the partition) and `{global}` (the
region that serves what is not regional). ` @REGION` says who signs, where it is not the region that was asked for.
After a semicolon stand the exceptions: `NAME... = TEMPLATE` for partitions or regions.
"""

from __future__ import annotations

SOURCE = "botocore 1.44.5"

#: Name, DNS suffix, dual-stack suffix, global region, pattern of region names, known regions.
PARTITIONS = (
    (
        "aws",
        "amazonaws.com",
        "api.aws",
        "us-east-1",
        r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+",
        (
            "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 "
            "ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 "
            "ap-southeast-7 aws-global ca-central-1 ca-west-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 "
            "eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 me-south-1 me-west-1 mx-central-1 "
            "sa-east-1 sa-west-1 us-east-1 us-east-2 us-west-1 us-west-2"
        ),
    ),
    (
        "aws-cn",
        "amazonaws.com.cn",
        "api.amazonwebservices.com.cn",
        "cn-northwest-1",
        r"cn-\w+-\d+",
        "aws-cn-global cn-north-1 cn-northwest-1",
    ),
    (
        "aws-eusc",
        "amazonaws.eu",
        "api.amazonwebservices.eu",
        "eusc-de-east-1",
        r"eusc-(de)-\w+-\d+",
        "eusc-de-east-1",
    ),
    (
        "aws-iso",
        "c2s.ic.gov",
        "api.aws.ic.gov",
        "us-iso-east-1",
        r"us-iso-\w+-\d+",
        "aws-iso-global us-iso-east-1 us-iso-west-1",
    ),
    (
        "aws-iso-b",
        "sc2s.sgov.gov",
        "api.aws.scloud",
        "us-isob-east-1",
        r"us-isob-\w+-\d+",
        "aws-iso-b-global us-isob-east-1 us-isob-west-1",
    ),
    (
        "aws-iso-e",
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
        "eu-isoe-west-1",
        r"eu-isoe-\w+-\d+",
        "aws-iso-e-global eu-isoe-west-1",
    ),
    (
        "aws-iso-f",
        "csp.hci.ic.gov",
        "api.aws.hci.ic.gov",
        "us-isof-south-1",
        r"us-isof-\w+-\d+",
        "aws-iso-f-global us-isof-east-1 us-isof-south-1",
    ),
    (
        "aws-us-gov",
        "amazonaws.com",
        "api.aws",
        "us-gov-west-1",
        r"us-gov-\w+-\d+",
        "aws-us-gov-global us-gov-east-1 us-gov-west-1",
    ),
)

#: Services at `{service}.{region}.{suffix}` in every partition.
PLAIN = """\
acm acm-pca aiops amplify amplifybackend amplifyuibuilder apigateway appconfig appconfigdata appfabric appflow
application-autoscaling appmesh apprunner appsync arc-zonal-shift athena auditmanager autoscaling autoscaling-plans b2bi
backup backup-gateway batch bedrock bedrock-agent bedrock-agent-runtime bedrock-agentcore bedrock-agentcore-control
bedrock-data-automation bedrock-data-automation-runtime bedrock-runtime braket chatbot cleanrooms cloud9 clouddirectory
cloudformation cloudhsm cloudhsmv2 cloudsearch cloudsearchdomain cloudtrail cloudtrail-data codeartifact codebuild
codecommit codeconnections codedeploy codeguru-reviewer codeguru-security codepipeline codestar-connections
codestar-notifications cognito-identity cognito-idp cognito-sync comprehend comprehendmedical compute-optimizer config
connect controlcatalog controltower cost-optimization-hub cur databrew dataexchange datapipeline datasync dax deadline
devicefarm devops-guru directconnect discovery dlm dms docdb-elastic drs ds ds-data dynamodb ebs ec2
ec2-instance-connect ecs eks elasticache elasticbeanstalk emr-containers emr-serverless entityresolution es events evs
firehose fis fms forecast forecastquery frauddetector fsx gamelift glacier globalaccelerator glue grafana greengrass
groundstation guardduty healthlake iam-toolbox identitystore imagebuilder inspector inspector-scan inspector2
internetmonitor iot iotfleetwise iotsitewise iotthingsgraph iottwinmaker ivs ivschat kafka kafkaconnect kendra kinesis
kinesisanalytics kinesisvideo kms lakeformation lambda license-manager license-manager-linux-subscriptions
license-manager-user-subscriptions lightsail logs lookoutequipment m2 machinelearning macie2 managedblockchain
managedblockchain-query marketplacecommerceanalytics mediaconnect medialive mediapackage mediapackage-vod mediapackagev2
mediastore medical-imaging mgh mgn migrationhub-config mq neptune-graph network-firewall networkmonitor nova-act oam
observabilityadmin odb omics osis outposts pca-connector-ad pca-connector-scep pcs personalize personalize-events
personalize-runtime pi pinpoint pipes polly proton quicksight ram rbin rds rds-data redshift redshift-data
redshift-serverless rekognition repostspace resiliencehub resource-explorer-2 resource-groups rolesanywhere
route53-recovery-cluster route53-recovery-readiness route53domains route53profiles route53resolver rtbfabric rum
s3tables sagemaker-geospatial scheduler schemas secretsmanager securityhub securitylake serverlessrepo servicecatalog
servicecatalog-appregistry servicediscovery signer snow-device-management snowball sns sqs ssm ssm-contacts
ssm-guiconnect ssm-incidents ssm-quicksetup ssm-sap storagegateway swf synthetics textract timestream-influxdb transfer
translate trustedadvisor verifiedpermissions vpc-lattice waf-regional wafv2 wellarchitected wisdom workdocs workmail
workmailmessageflow workspaces workspaces-web xray
"""

#: All others.
OTHERS = {
    "accessanalyzer": "access-analyzer.{region}.{suffix}",
    "account": "account.{global}.{suffix} @{global}",
    "account-access": "account-access.{region}.{dual}",
    "account-access-runtime": "account-access-runtime.{region}.{dual}",
    "agent-registry": "agent-registry.{region}.api.aws",
    "agent-registry-control": "agent-registry-control.{region}.api.aws",
    "amp": "aps.{region}.{suffix}",
    "apigatewaymanagementapi": "execute-api.{region}.{suffix}",
    "apigatewayv2": "apigateway.{region}.{suffix}",
    "appintegrations": "app-integrations.{region}.{suffix}",
    "application-insights": "applicationinsights.{region}.{suffix}",
    "application-signals": "application-signals.{region}.{dual}",
    "applicationcostprofiler": "application-cost-profiler.{region}.{suffix}",
    "appstream": "appstream2.{region}.{suffix}",
    "arc-region-switch": "arc-region-switch.{region}.{dual}",
    "artifact": "artifact.{global}.{suffix} @{global}",
    "backupsearch": "backup-search.{region}.{dual}",
    "bcm-dashboards": "bcm-dashboards.{global}.{dual} @{global}",
    "bcm-data-exports": (
        "bcm-data-exports.{global}.{dual} @{global}"
        "; aws-iso aws-iso-b aws-iso-e aws-iso-f = bcm-data-exports.{global}.{suffix} @{global}"
    ),
    "bcm-pricing-calculator": "bcm-pricing-calculator.{global}.{dual} @{global}",
    "bcm-recommended-actions": "bcm-recommended-actions.{global}.{dual} @{global}",
    "billing": (
        "billing.{global}.{dual} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = billing.{global}.{suffix} @{global}"
    ),
    "billingconductor": (
        "billingconductor.{global}.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = billingconductor.{region}.{suffix}"
    ),
    "budgets": (
        "budgets.{suffix} @{global}"
        "; aws-eusc = budgets.{global}.{dual} @{global}"
        "; aws-iso-b aws-iso-e aws-iso-f = budgets.global.{suffix} @{global}"
    ),
    "ce": "ce.{global}.{suffix} @{global}; aws-eusc = ce.{global}.{dual} @{global}",
    "chime": (
        "chime.{global}.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = chime.{region}.{suffix}"
    ),
    "chime-sdk-identity": "identity-chime.{region}.{suffix}",
    "chime-sdk-media-pipelines": "media-pipelines-chime.{region}.{suffix}",
    "chime-sdk-meetings": "meetings-chime.{region}.{suffix}",
    "chime-sdk-messaging": "messaging-chime.{region}.{suffix}",
    "chime-sdk-voice": "voice-chime.{region}.{suffix}",
    "cleanroomsml": "cleanrooms-ml.{region}.{suffix}",
    "cloudcontrol": "cloudcontrolapi.{region}.{suffix}",
    "cloudfront": "cloudfront.{suffix} @{global}; aws-cn = cloudfront.{global}.{suffix} @{global}",
    "cloudwatch": "monitoring.{region}.{suffix}",
    "cloudwatchomni": "cloudwatch-omni.{region}.{dual}",
    "codecatalyst": "codecatalyst.global.{dual}",
    "codeguruprofiler": "codeguru-profiler.{region}.{suffix}",
    "compute-optimizer-automation": "aco-automation.{region}.{suffix}",
    "connect-contact-lens": "contact-lens.{region}.{suffix}",
    "connectcampaigns": "connect-campaigns.{region}.{suffix}",
    "connectcampaignsv2": "connect-campaigns.{region}.{suffix}",
    "connectcases": "cases.{region}.{suffix}",
    "connecthealth": "health-agent.{region}.{dual}",
    "connectparticipant": "participant.connect.{region}.{suffix}",
    "connectscheduling": "connect.{region}.{suffix}",
    "continuum": "continuum.{region}.{dual}",
    "customer-profiles": "profile.{region}.{suffix}",
    "datazone": "datazone.{region}.{dual}",
    "detective": "api.detective.{region}.{suffix}",
    "devops-agent": "aidevops.{region}.{dual}",
    "docdb": "rds.{region}.{suffix}",
    "dsql": "dsql.{region}.{dual}",
    "dynamodbstreams": "streams.dynamodb.{region}.{suffix}",
    "ecr": "api.ecr.{region}.{suffix}",
    "ecr-public": "api.ecr-public.{region}.{suffix}",
    "efs": "elasticfilesystem.{region}.{suffix}",
    "eks-auth": "eks-auth.{region}.{dual}",
    "elb": "elasticloadbalancing.{region}.{suffix}",
    "elbv2": "elasticloadbalancing.{region}.{suffix}",
    "elementalinference": "elemental-inference.{region}.{suffix}",
    "emr": "elasticmapreduce.{region}.{suffix}",
    "endusermessaging": "end-user-messaging.{region}.{suffix}",
    "eventbridgev2": "eventsv2.{region}.{suffix}",
    "freetier": (
        "freetier.{global}.{dual} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = freetier.{region}.{dual}"
        "; aws-cn-global = freetier.{global}.{dual} @{global}"
    ),
    "gameliftstreams": "gameliftstreams.{region}.{dual}",
    "geo-maps": (
        "maps.geo.{region}.{suffix}; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f = geo-maps.{region}.{suffix}"
    ),
    "geo-places": (
        "places.geo.{region}.{suffix}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f = geo-places.{region}.{suffix}"
    ),
    "geo-routes": (
        "routes.geo.{region}.{suffix}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f = geo-routes.{region}.{suffix}"
        "; aws-us-gov = routes.geo.{region}.us-gov.{suffix}"
    ),
    "greengrassv2": "greengrass.{region}.{suffix}",
    "health": (
        "health.{region}.{suffix}"
        "; aws-global aws-cn-global = global.health.{suffix} @{global}"
        "; aws-eusc = health.{region}.{dual}"
    ),
    "iam": (
        "iam.{suffix} @{global}"
        "; aws-cn = iam.cn-north-1.{suffix} @cn-north-1"
        "; aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f = iam.{global}.{suffix} @{global}"
        "; aws-us-gov = iam.us-gov.{suffix} @{global}"
    ),
    "importexport": (
        "importexport.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = importexport.{region}.{suffix}"
    ),
    "interconnect": "interconnect.{region}.{dual}",
    "invoicing": "invoicing.{global}.{dual} @{global}",
    "iot-data": "data-ats.iot.{region}.{suffix}; cn-north-1 = data.ats.iot.{region}.{suffix}",
    "iot-jobs-data": "data.jobs.iot.{region}.{suffix}",
    "iot-managed-integrations": "api.iotmanagedintegrations.{region}.{dual}",
    "iotdeviceadvisor": "api.iotdeviceadvisor.{region}.{suffix}",
    "iotsecuretunneling": "api.tunneling.iot.{region}.{suffix}",
    "iotwireless": "api.iotwireless.{region}.{suffix}",
    "ivs-realtime": "ivsrealtime.{region}.{suffix}",
    "kendra-ranking": "kendra-ranking.{region}.{dual}",
    "keyspaces": "cassandra.{region}.{suffix}",
    "keyspacesstreams": "cassandra-streams.{region}.{dual}",
    "kinesis-video-archived-media": "kinesisvideo.{region}.{suffix}",
    "kinesis-video-media": "kinesisvideo.{region}.{suffix}",
    "kinesis-video-signaling": "kinesisvideo.{region}.{suffix}",
    "kinesis-video-webrtc-storage": "kinesisvideo.{region}.{suffix}",
    "kinesisanalyticsv2": "kinesisanalytics.{region}.{suffix}",
    "lambda-core": "lambda.{region}.{suffix}",
    "lambda-microvms": "lambda.{region}.{suffix}",
    "lambda-web": "lambda.{region}.{suffix}",
    "launch-wizard": "launchwizard.{region}.{suffix}",
    "lex-models": "models.lex.{region}.{suffix}",
    "lex-runtime": "runtime.lex.{region}.{suffix}",
    "lexv2-models": "models-v2-lex.{region}.{suffix}",
    "lexv2-runtime": "runtime-v2-lex.{region}.{suffix}",
    "location": "geo.{region}.{suffix}",
    "mailmanager": "mail-manager.{region}.{suffix}",
    "marketplace-agreement": "agreement-marketplace.{region}.{suffix}",
    "marketplace-catalog": "catalog.marketplace.{region}.{suffix}",
    "marketplace-deployment": "deployment-marketplace.{region}.{suffix}",
    "marketplace-discovery": "discovery-marketplace.{region}.{dual}",
    "marketplace-entitlement": (
        "entitlement.marketplace.{region}.{suffix}; aws-cn aws-eusc = entitlement-marketplace.{region}.{suffix}"
    ),
    "marketplace-reporting": "reporting-marketplace.{region}.{suffix}",
    "mediaconvert": (
        "mediaconvert.{region}.{suffix}; cn-northwest-1 = subscribe.mediaconvert.{region}.{suffix} @{global}"
    ),
    "mediastore-data": "data.mediastore.{region}.{suffix}",
    "mediatailor": "api.mediatailor.{region}.{suffix}",
    "memorydb": "memory-db.{region}.{suffix}",
    "meteringmarketplace": "metering.marketplace.{region}.{suffix}; aws-eusc = metering-marketplace.{region}.{suffix}",
    "migration-hub-refactor-spaces": "refactor-spaces.{region}.{suffix}",
    "migrationhuborchestrator": "migrationhub-orchestrator.{region}.{suffix}",
    "migrationhubstrategy": "migrationhub-strategy.{region}.{suffix}",
    "mpa": "mpa.{region}.{dual}",
    "mturk": "mturk-requester.{region}.{suffix}",
    "mwaa": "airflow.{region}.{suffix}",
    "mwaa-serverless": "airflow-serverless.{region}.{dual}",
    "neptune": "rds.{region}.{suffix}",
    "neptunedata": "neptune-db.{region}.{suffix}",
    "network-security-manager": "network-security-manager.{region}.{dual}",
    "networkflowmonitor": "networkflowmonitor.{region}.{dual}",
    "networkmanager": (
        "networkmanager.us-west-2.{suffix} @us-west-2"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = networkmanager.{global}.{suffix} "
        "@{global}"
    ),
    "notifications": "notifications.{region}.{dual}",
    "notificationscontacts": "notifications-contacts.{global}.{dual} @{global}",
    "opensearch": "es.{region}.{suffix}",
    "opensearchmemory": "osm.{region}.api.aws",
    "opensearchserverless": "aoss.{region}.{suffix}",
    "organizations": "organizations.{global}.{suffix} @{global}",
    "partnercentral-account": "partnercentral-account.{region}.{dual}",
    "partnercentral-benefits": "partnercentral-benefits.{region}.{dual}",
    "partnercentral-channel": "partnercentral-channel.global.{dual}; aws-us-gov = partnercentral-channel.us-gov.{dual}",
    "partnercentral-revenue-measurement": (
        "partnercentral-prm.global.{dual}; aws-us-gov = partnercentral-prm.us-gov.{dual}"
    ),
    "partnercentral-selling": "partnercentral-selling.{region}.{dual}",
    "payment-cryptography": "controlplane.payment-cryptography.{region}.{suffix}",
    "payment-cryptography-data": "dataplane.payment-cryptography.{region}.{suffix}",
    "pinpoint-email": "email.{region}.{suffix}",
    "pinpoint-sms-voice": "sms-voice.pinpoint.{region}.{suffix}",
    "pinpoint-sms-voice-v2": "sms-voice.{region}.{suffix}",
    "pricing": "api.pricing.{region}.{suffix}",
    "pricing-plan-manager": "pricingplanmanager.us-east-1.api.aws @us-east-1",
    "qapps": "data.qapps.{region}.{suffix}",
    "qbusiness": "qbusiness.{region}.{dual}",
    "qconnect": "wisdom.{region}.{suffix}",
    "resiliencehubv2": "resiliencehub.{region}.{suffix}",
    "resourcegroupstaggingapi": "tagging.{region}.{suffix}",
    "route53": "route53.{suffix} @{global}; aws-us-gov = route53.us-gov.{suffix} @{global}",
    "route53-recovery-control-config": (
        "route53-recovery-control-config.us-west-2.{suffix} @us-west-2"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = "
        "route53-recovery-control-config.{global}.{suffix} @{global}"
    ),
    "route53globalresolver": "route53globalresolver.{region}.{dual}",
    "s3": "s3.{region}.{suffix}; aws-global = s3.{suffix} @{global}",
    "s3control": "s3-control.{region}.{suffix}",
    "s3files": "s3files.{region}.{dual}",
    "s3outposts": "s3-outposts.{region}.{suffix}",
    "s3vectors": "s3vectors.{region}.{dual}",
    "sagemaker": "api.sagemaker.{region}.{suffix}",
    "sagemaker-a2i-runtime": "a2i-runtime.sagemaker.{region}.{suffix}",
    "sagemaker-edge": "edge.sagemaker.{region}.{suffix}",
    "sagemaker-featurestore-runtime": "featurestore-runtime.sagemaker.{region}.{suffix}",
    "sagemaker-inference-router-runtime": "inferencerouter-runtime.sagemaker.{region}.{suffix}",
    "sagemaker-metrics": "metrics.sagemaker.{region}.{suffix}",
    "sagemaker-runtime": "runtime.sagemaker.{region}.{suffix}",
    "sagemakerjobruntime": "job-runtime.sagemaker.{region}.{dual}",
    "sagemakertrainingsessionruntime": "training-session-runtime.sagemaker.{region}.{dual}",
    "savingsplans": (
        "savingsplans.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = savingsplans.{region}.{suffix}"
    ),
    "sdb": "sdb.{region}.{suffix}; us-east-1 = sdb.{suffix} @{global}",
    "security-ir": "security-ir.{region}.{dual}",
    "securityagent": "securityagent.{region}.{dual}",
    "service-quotas": "servicequotas.{region}.{suffix}",
    "ses": "email.{region}.{suffix}",
    "sesv2": "email.{region}.{suffix}",
    "shield": (
        "shield.{global}.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = shield.{region}.{suffix}"
    ),
    "signer-data": "data-signer.{region}.{suffix}",
    "signin": (
        "{region}.signin.aws.amazon.com"
        "; aws-cn = {region}.signin.amazonaws.cn"
        "; aws-eusc = {region}.signin.amazonaws-eusc.eu"
        "; aws-iso = {region}.signin.c2shome.ic.gov"
        "; aws-iso-b = {region}.signin.sc2shome.sgov.gov"
        "; aws-iso-e = {region}.signin.csphome.adc-e.uk"
        "; aws-iso-f = {region}.signin.csphome.hci.ic.gov"
        "; aws-us-gov = {region}.signin.amazonaws-us-gov.com"
    ),
    "simpledbv2": "sdb.{region}.{suffix}; us-east-1 = sdb.{suffix} @{global}",
    "sms-voice": "sms-voice.pinpoint.{region}.{suffix}",
    "socialmessaging": "social-messaging.{region}.{suffix}",
    "sso": "portal.sso.{region}.{suffix}",
    "sso-admin": "sso.{region}.{suffix}",
    "sso-oidc": "oidc.{region}.{suffix}",
    "stepfunctions": "states.{region}.{suffix}",
    "sts": "sts.{region}.{suffix}; aws-global = sts.{suffix} @{global}",
    "supplychain": "scn.{region}.{suffix}",
    "support": (
        "support.{global}.{suffix} @{global}"
        "; aws-cn = support.cn-north-1.{suffix} @cn-north-1"
        "; aws-eusc aws-iso-e aws-iso-f = support.{region}.{suffix}"
    ),
    "support-app": "supportapp.{region}.{suffix}",
    "supportauthz": "supportauthz.{region}.{dual}",
    "sustainability": (
        "api.sustainability.{region}.{dual}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f = sustainability.global.{dual}"
        "; aws-us-gov = sustainability.us-gov.{dual}"
    ),
    "taxsettings": "tax.{global}.{suffix} @{global}",
    "timestream-query": "query.timestream.{region}.{suffix}",
    "timestream-write": "ingest.timestream.{region}.{suffix}",
    "transcribe": (
        "transcribe.{region}.{suffix}"
        "; cn-north-1 = cn.transcribe.{region}.{suffix}"
        "; cn-northwest-1 = cn.transcribe.{region}.{suffix} @{global}"
    ),
    "uxc": "uxc.{region}.{dual}",
    "voice-id": "voiceid.{region}.{suffix}",
    "waf": (
        "waf.{suffix} @{global}"
        "; aws-cn aws-eusc aws-iso aws-iso-b aws-iso-e aws-iso-f aws-us-gov = waf.{region}.{suffix}"
    ),
    "wickr": "admin.wickr.{region}.{suffix}",
    "workspaces-instances": "workspaces-instances.{region}.{dual}",
    "workspaces-thin-client": "thinclient.{region}.{suffix}",
}

#: Endpoint prefixes that are not also the name of a service, and the service of each.
PREFIXES = {
    "a2i-runtime.sagemaker": "sagemaker-a2i-runtime",
    "access-analyzer": "accessanalyzer",
    "aco-automation": "compute-optimizer-automation",
    "admin.wickr": "wickr",
    "agreement-marketplace": "marketplace-agreement",
    "aidevops": "devops-agent",
    "airflow": "mwaa",
    "airflow-serverless": "mwaa-serverless",
    "aoss": "opensearchserverless",
    "api.detective": "detective",
    "api.ecr": "ecr",
    "api.ecr-public": "ecr-public",
    "api.iotdeviceadvisor": "iotdeviceadvisor",
    "api.iotmanagedintegrations": "iot-managed-integrations",
    "api.iotwireless": "iotwireless",
    "api.mediatailor": "mediatailor",
    "api.pricing": "pricing",
    "api.sagemaker": "sagemaker",
    "api.tunneling.iot": "iotsecuretunneling",
    "app-integrations": "appintegrations",
    "application-cost-profiler": "applicationcostprofiler",
    "applicationinsights": "application-insights",
    "appstream2": "appstream",
    "aps": "amp",
    "backup-search": "backupsearch",
    "cases": "connectcases",
    "cassandra": "keyspaces",
    "cassandra-streams": "keyspacesstreams",
    "catalog.marketplace": "marketplace-catalog",
    "cleanrooms-ml": "cleanroomsml",
    "cloudcontrolapi": "cloudcontrol",
    "cloudwatch-omni": "cloudwatchomni",
    "codeguru-profiler": "codeguruprofiler",
    "connect-campaigns": "connectcampaigns",
    "contact-lens": "connect-contact-lens",
    "controlplane.payment-cryptography": "payment-cryptography",
    "data-ats.iot": "iot-data",
    "data-signer": "signer-data",
    "data.jobs.iot": "iot-jobs-data",
    "data.mediastore": "mediastore-data",
    "data.qapps": "qapps",
    "dataplane.payment-cryptography": "payment-cryptography-data",
    "deployment-marketplace": "marketplace-deployment",
    "discovery-marketplace": "marketplace-discovery",
    "edge.sagemaker": "sagemaker-edge",
    "elasticfilesystem": "efs",
    "elasticloadbalancing": "elb",
    "elasticmapreduce": "emr",
    "elemental-inference": "elementalinference",
    "email": "pinpoint-email",
    "end-user-messaging": "endusermessaging",
    "entitlement.marketplace": "marketplace-entitlement",
    "eventsv2": "eventbridgev2",
    "execute-api": "apigatewaymanagementapi",
    "featurestore-runtime.sagemaker": "sagemaker-featurestore-runtime",
    "geo": "location",
    "health-agent": "connecthealth",
    "identity-chime": "chime-sdk-identity",
    "inferencerouter-runtime.sagemaker": "sagemaker-inference-router-runtime",
    "ingest.timestream": "timestream-write",
    "ivsrealtime": "ivs-realtime",
    "job-runtime.sagemaker": "sagemakerjobruntime",
    "launchwizard": "launch-wizard",
    "mail-manager": "mailmanager",
    "media-pipelines-chime": "chime-sdk-media-pipelines",
    "meetings-chime": "chime-sdk-meetings",
    "memory-db": "memorydb",
    "messaging-chime": "chime-sdk-messaging",
    "metering.marketplace": "meteringmarketplace",
    "metrics.sagemaker": "sagemaker-metrics",
    "migrationhub-orchestrator": "migrationhuborchestrator",
    "migrationhub-strategy": "migrationhubstrategy",
    "models-v2-lex": "lexv2-models",
    "models.lex": "lex-models",
    "monitoring": "cloudwatch",
    "mturk-requester": "mturk",
    "neptune-db": "neptunedata",
    "notifications-contacts": "notificationscontacts",
    "oidc": "sso-oidc",
    "osm": "opensearchmemory",
    "participant.connect": "connectparticipant",
    "partnercentral-prm": "partnercentral-revenue-measurement",
    "portal.sso": "sso",
    "pricingplanmanager": "pricing-plan-manager",
    "profile": "customer-profiles",
    "query.timestream": "timestream-query",
    "refactor-spaces": "migration-hub-refactor-spaces",
    "reporting-marketplace": "marketplace-reporting",
    "runtime-v2-lex": "lexv2-runtime",
    "runtime.lex": "lex-runtime",
    "runtime.sagemaker": "sagemaker-runtime",
    "s3-control": "s3control",
    "s3-outposts": "s3outposts",
    "scn": "supplychain",
    "servicequotas": "service-quotas",
    "sms-voice.pinpoint": "pinpoint-sms-voice",
    "social-messaging": "socialmessaging",
    "states": "stepfunctions",
    "streams.dynamodb": "dynamodbstreams",
    "supportapp": "support-app",
    "tagging": "resourcegroupstaggingapi",
    "tax": "taxsettings",
    "thinclient": "workspaces-thin-client",
    "training-session-runtime.sagemaker": "sagemakertrainingsessionruntime",
    "voice-chime": "chime-sdk-voice",
    "voiceid": "voice-id",
}
