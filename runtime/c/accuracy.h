/* A data set through the model. */
#ifndef ACCURACY_H
#define ACCURACY_H

#include "args.h"

/* Inputs and outputs are files of tensors, one after the other; prints how many, as JSON. */
void accuracy(const args_t *args);

#endif
