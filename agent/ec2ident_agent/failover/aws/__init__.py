"""AWS's API: signed requests built by hand, answers parsed strictly, one deadline; how old an answer may be."""
