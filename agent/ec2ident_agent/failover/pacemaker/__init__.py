"""The OCF resource agents for Pacemaker."""
