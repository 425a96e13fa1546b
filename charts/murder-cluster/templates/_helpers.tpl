{{- define "murder-cluster.name" -}}
{{- default .Release.Name .Values.cluster.name }}
{{- end }}

{{/* Metadata of an object: name, annotations and the root. */}}
{{- define "murder-cluster.metadata" -}}
{{- $root := .root }}
{{- $annotations := .annotations | default dict }}
{{- if $root.Values.keep }}
{{- $annotations = set (deepCopy $annotations) "helm.sh/resource-policy" "keep" }}
{{- end -}}
name: {{ .name }}
namespace: {{ $root.Release.Namespace }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/name: murder
  app.kubernetes.io/instance: {{ include "murder-cluster.name" $root }}
  app.kubernetes.io/part-of: murder
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
