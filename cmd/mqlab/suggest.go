package main

import "strings"

// closest returns the known word that a misspelt one most likely stands for, or "" when none is near:
// a bad guess is worse than none.
func closest(word string, known []string) string {
	best, least := "", len(word)/3+1
	word = strings.ToLower(word)
	for _, k := range known {
		low := strings.ToLower(k)
		if d := editDistance(word, low); d <= least && d < max(len(word), len(low)) && (best == "" || d < least) {
			best, least = k, d
		}
	}
	if best == "" && len(word) >= 3 {
		for _, k := range known {
			if strings.HasPrefix(strings.ToLower(k), word) {
				return k
			}
		}
	}
	return best
}

// editDistance counts the letters to insert, drop, change or swap with their neighbour.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, prev, cur := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(x); i++ {
		cur[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(y)]
}
