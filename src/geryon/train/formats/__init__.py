"""Ways in which labs keep annotations, one a file; train.own.FORMATS names them."""
