# A network of the host's own: one public subnet, and a way to S3 that leaves AWS's network nowhere.

resource "aws_vpc" "this" {
  cidr_block           = "10.9.0.0/24"
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_subnet" "host" {
  vpc_id     = aws_vpc.this.id
  cidr_block = aws_vpc.this.cidr_block
  # Until the host has the address of its own, this is how its first start reaches the packages.
  map_public_ip_on_launch = true

  tags = { Name = var.name }
}

resource "aws_route_table" "host" {
  vpc_id = aws_vpc.this.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }

  tags = { Name = var.name }
}

resource "aws_route_table_association" "host" {
  subnet_id      = aws_subnet.host.id
  route_table_id = aws_route_table.host.id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.this.id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.host.id]

  tags = { Name = var.name }
}

resource "aws_security_group" "host" {
  name        = "${var.name}-host"
  description = "the proxy's two ports in; AWS and packages out"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "host" {
  for_each = { for pair in setproduct(var.allowed_cidrs, [80, 443]) : "${pair[0]}:${pair[1]}" => pair }

  security_group_id = aws_security_group.host.id
  cidr_ipv4         = each.value[0]
  from_port         = each.value[1]
  to_port           = each.value[1]
  ip_protocol       = "tcp"
}

resource "aws_vpc_security_group_egress_rule" "host" {
  security_group_id = aws_security_group.host.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}
