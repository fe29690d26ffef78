"""The steps of an LSTM or GRU."""
