"""Generator of a clearly synthetic set of leather goods: three views an item, genuine and counterfeit."""
