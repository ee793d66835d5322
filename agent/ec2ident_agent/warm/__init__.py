"""Volume warming: read every block of a volume that was made from a snapshot, so that later reads are fast.

The blocks of such a volume come from Amazon S3 when they are first read ("Initialize Amazon EBS volumes" in Amazon's
EBS user guide). This room reads them all once, and writes nothing to the volume.
"""
