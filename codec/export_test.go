package codec

// FaultInfo is what a test sees of a row of the fault table.
type FaultInfo struct {
	Name         string
	Rule4, Rule5 string // space separated
	Msg          string
}

// FaultTable lists the rows of the fault table.
func FaultTable() []FaultInfo {
	var t []FaultInfo
	for f := faultNone + 1; f < faultCount; f++ {
		t = append(t, FaultInfo{faults[f].name, faults[f].rule4, faults[f].rule5, faults[f].msg})
	}
	return t
}

// PropertyRules lists the rules on repeated properties and on their ranges.
func PropertyRules() []string {
	var ids []string
	for _, r := range duplicateRules {
		ids = append(ids, r)
	}
	for _, r := range rangeRules {
		ids = append(ids, r)
	}
	return append(ids, "P-3.2.2.3-connack-duplicates")
}
