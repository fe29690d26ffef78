"""The models of `domains` on many chips: do all of them compute the same?"""
