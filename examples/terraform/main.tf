# The route tables and the permissions of a service db, whose overlay address moves between two nodes.
#
# Terraform makes what stays: tables, role, policy, and the first route. ec2ident-failover moves the route afterwards, so
# Terraform must neither own its target nor remove it:
#   - the tables have no `route` blocks of their own. With them, each apply would delete the routes that they do not name;
#   - `ignore_changes` keeps an apply from moving the service back to the node that it began on.
#
# policy.json.tftpl is what `ec2ident-failover policy` prints for failover.toml.tftpl; after a change of the service run it
# again. A test of the project holds that the two are the same, and that these files are Terraform's language in its own
# layout. `terraform validate` is not among the tests, because it needs the provider, which no package index has.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "vpc_id" {
  description = "The VPC of the nodes."
  type        = string
}

variable "subnets" {
  description = "The subnets whose instances reach the service, by any name: each gets a route table."
  type        = map(string)
}

variable "instances" {
  description = "The two nodes."
  type        = list(string)
}

variable "overlay" {
  description = "The address that moves, outside of the VPC's ranges."
  type        = string
  default     = "192.168.10.5/32"
}

data "aws_partition" "here" {}

data "aws_region" "here" {}

data "aws_caller_identity" "here" {}

data "aws_instance" "node" {
  for_each    = toset(var.instances)
  instance_id = each.value
}

locals {
  # In the order of var.instances: the first one begins with the service.
  interfaces = [for id in var.instances : data.aws_instance.node[id].network_interface_id]
  names      = sort(keys(var.subnets))

  region  = data.aws_region.here.id
  account = data.aws_caller_identity.here.account_id
  arn     = "arn:${data.aws_partition.here.partition}:ec2:${local.region}:${local.account}"
}

resource "aws_route_table" "service" {
  for_each = var.subnets
  vpc_id   = var.vpc_id

  tags = {
    Name = "service-${each.key}"
  }
}

resource "aws_route_table_association" "service" {
  for_each       = var.subnets
  subnet_id      = each.value
  route_table_id = aws_route_table.service[each.key].id
}

resource "aws_route" "overlay" {
  for_each               = aws_route_table.service
  route_table_id         = each.value.id
  destination_cidr_block = var.overlay
  network_interface_id   = local.interfaces[0]

  lifecycle {
    ignore_changes = [network_interface_id]
  }
}

resource "aws_iam_policy" "failover" {
  name        = "ec2ident-failover-db"
  description = "Move the service db between its nodes"
  policy = templatefile("${path.module}/policy.json.tftpl", {
    region         = local.region
    table_arns     = [for name in local.names : "${local.arn}:route-table/${aws_route_table.service[name].id}"]
    interface_arns = [for id in local.interfaces : "${local.arn}:network-interface/${id}"]
  })
}

resource "aws_iam_role" "node" {
  name = "service-db"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "failover" {
  role       = aws_iam_role.node.name
  policy_arn = aws_iam_policy.failover.arn
}

resource "aws_iam_instance_profile" "node" {
  name = "service-db"
  role = aws_iam_role.node.name
}

output "failover_toml" {
  description = "For /etc/ec2ident/failover.toml on both nodes."
  value = templatefile("${path.module}/failover.toml.tftpl", {
    region     = local.region
    account    = local.account
    instances  = var.instances
    interfaces = local.interfaces
    overlay    = var.overlay
    tables     = [for name in local.names : aws_route_table.service[name].id]
  })
}
