"""The page: one self-contained HTML file that shows a cluster, its policies and every verdict."""
